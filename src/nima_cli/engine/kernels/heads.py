"""The kernels for heads: split off, normalised and rotated, attention, and back.

Axis letters: B batch · T time · C width · H query heads · G key and value heads · D head width · E half of it
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from nima_cli.engine.kernels.native import KINDS, Attention, Heads, NativeLibrary, address, kind, position_stride


@dataclass(frozen=True, slots=True)
class HeadTransform:
    """What becomes of a head when it is split off: it may be normalised, then rotated by its position and scaled.

    Attributes:
        gain_D: of the norm, in float32; None leaves heads as long as they are.
        angles_TE: float32 cosines and sines of each position, half a head wide; None rotates nothing.
        factor: for what is rotated.
        epsilon: the norm's.
    """

    gain_D: torch.Tensor | None = None
    angles_TE: tuple[torch.Tensor, torch.Tensor] | None = None
    factor: float = 1.0
    epsilon: float = 0.0

    def describe(self, batch: int, time: int, heads: int, width: int, stride: int) -> Heads:
        """The same for the program; it lives no longer than these tensors."""
        cosines_TE, sines_TE = self.angles_TE if self.angles_TE is not None else (None, None)
        for wanted, tensor in (((width,), self.gain_D), *(((time, width // 2), x) for x in (cosines_TE, sines_TE))):
            assert tensor is None or (tensor.dtype is torch.float32 and tensor.shape == wanted)
        addresses = map(address, (self.gain_D, cosines_TE, sines_TE))
        return Heads(batch, time, heads, width, stride, *addresses, self.epsilon, self.factor)


class HeadKernels(NativeLibrary):
    """Those of `norm.cpp` that are about heads, and `attention.cpp`.

    Attributes:
        attends: whether `attention` is the fast way here; it is right everywhere.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.attends = bool(self._ask("attention_is_fast"))

    def split_heads(self, x_BTC: torch.Tensor, heads: int, transform: HeadTransform) -> torch.Tensor:
        """Heads side by side, `[B, T, H D]`, become matrices `[B, H, T, D]`, transformed.

        `x_BTC` may be some columns of a wider tensor.
        """
        batch, time, width = x_BTC.shape[0], x_BTC.shape[1], x_BTC.shape[2] // heads
        y_BHTD = x_BTC.new_empty(batch, heads, time, width)
        described = transform.describe(batch, time, heads, width, position_stride(x_BTC))
        self._call("split_heads", kind(x_BTC), described, x_BTC.data_ptr(), y_BHTD)
        return y_BHTD

    def split_heads_gradient(
        self, x_BTC: torch.Tensor | None, grad_BHTD: torch.Tensor, transform: HeadTransform, out_BTC: torch.Tensor
    ) -> torch.Tensor | None:
        """From the gradient of what `split_heads` gave, that of what it was given and, in float32, that of the gain.

        The former goes into `out_BTC`, which may be some columns of a wider tensor, and `x_BTC` such columns of one
        that is as wide. Without a gain `x_BTC` is not needed; without angles this joins heads.
        """
        batch, heads, time, width = grad_BHTD.shape
        gain_D, stride = transform.gain_D, position_stride(out_BTC)
        grad_gain_D = torch.empty_like(gain_D) if gain_D is not None else None
        assert out_BTC.shape == (batch, time, heads * width)
        assert gain_D is None or (x_BTC is not None and position_stride(x_BTC) == stride)
        self._call(
            "split_heads_gradient",
            kind(grad_BHTD, out_BTC, x_BTC),
            transform.describe(batch, time, heads, width, stride),
            x_BTC.data_ptr() if x_BTC is not None else None,
            grad_BHTD,
            out_BTC.data_ptr(),
            grad_gain_D,
        )
        return grad_gain_D

    def attention(
        self, q_BHTD: torch.Tensor, k_BGTD: torch.Tensor, v_BGTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Causal attention of bfloat16 heads, `[B, T, H D]`, and two tensors that its gradient needs.

        Queries have been scaled; G divides H.
        """
        batch, heads, time, width = q_BHTD.shape
        out_BTC = q_BHTD.new_empty(batch, time, heads * width)
        exp_scores = q_BHTD.new_empty(batch * heads, self._ask("exp_scores_kept", time))
        inverses = torch.empty(batch * heads, self._ask("inverses_kept", time))
        self._call("attention", _attention(q_BHTD, k_BGTD), q_BHTD, k_BGTD, v_BGTD, out_BTC, exp_scores, inverses)
        return out_BTC, exp_scores, inverses

    def attention_gradient(
        self,
        q_BHTD: torch.Tensor,
        k_BGTD: torch.Tensor,
        v_BGTD: torch.Tensor,
        kept: tuple[torch.Tensor, torch.Tensor],
        grad_BTC: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """From what `attention` was given and kept, and the gradient of its result, those of queries, keys, values."""
        grads = torch.empty_like(q_BHTD), torch.empty_like(k_BGTD), torch.empty_like(v_BGTD)
        sizes = _attention(q_BHTD, k_BGTD)
        self._call("attention_gradient", sizes, q_BHTD, k_BGTD, v_BGTD, *kept, grad_BTC, *grads)
        return grads


def _attention(q_BHTD: torch.Tensor, k_BGTD: torch.Tensor) -> Attention:
    assert kind(q_BHTD, k_BGTD) == KINDS[torch.bfloat16]
    batch, heads, time, width = q_BHTD.shape
    return Attention(batch, heads, k_BGTD.shape[1], time, width)
