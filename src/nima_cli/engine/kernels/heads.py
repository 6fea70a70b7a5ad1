"""The kernels for heads: split off, normalised and turned, attention, and back; knows no model.

Axis letters: B batch · T time · C width · H query heads · G key and value heads · D head width · E half of it
"""

from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from nima_cli.engine.kernels.loaded import Loaded, Signatures, Structures
from nima_cli.engine.kernels.tensors import KINDS, address, address_or_null, kind, position_stride


class _Heads(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("batch", "time", "heads", "width", "stride")),
        *((name, c_void_p) for name in ("gain", "cosines", "sines")),
        ("epsilon", c_float),
        ("factor", c_float),
    )


class _Attention(Structure):
    _fields_ = tuple((name, c_int64) for name in ("batch", "heads", "kv_heads", "time", "width"))


@dataclass(frozen=True, slots=True)
class HeadForm:
    """What becomes of a head when it is split off: it may be normalised, then turned by its position and scaled.

    Attributes:
        gain_D: of the norm, in float32; None leaves heads as long as they are.
        angles_TE: float32 cosines and sines of each position, half a head wide; None turns nothing.
        factor: for what is turned.
        epsilon: the norm's.
    """

    gain_D: torch.Tensor | None = None
    angles_TE: tuple[torch.Tensor, torch.Tensor] | None = None
    factor: float = 1.0
    epsilon: float = 0.0

    def describe(self, batch: int, time: int, heads: int, width: int, stride: int) -> _Heads:
        """The same for the program; it lives no longer than these tensors."""
        cosines_TE, sines_TE = self.angles_TE if self.angles_TE is not None else (None, None)
        for wanted, tensor in (((width,), self.gain_D), *(((time, width // 2), x) for x in (cosines_TE, sines_TE))):
            assert tensor is None or (tensor.dtype is torch.float32 and tensor.shape == wanted)
        addresses = map(address_or_null, (self.gain_D, cosines_TE, sines_TE))
        return _Heads(batch, time, heads, width, stride, *addresses, self.epsilon, self.factor)


class HeadKernels(Loaded):
    """Those of `norm.cpp` that are about heads, and `attention.cpp`.

    Attributes:
        attends: whether `attention` is the fast way here; it is right everywhere.
    """

    SIGNATURES: ClassVar[Signatures] = {
        "nima_split_heads": (c_int, POINTER(_Heads), c_void_p, c_void_p, c_int),
        "nima_split_heads_gradient": (c_int, POINTER(_Heads), *4 * (c_void_p,), c_int),
        "nima_attention_kept": (c_int64, POINTER(c_int64), POINTER(c_int64)),
        "nima_attention": (POINTER(_Attention), *6 * (c_void_p,), c_int),
        "nima_attention_gradient": (POINTER(_Attention), *9 * (c_void_p,), c_int),
    }

    STRUCTURES: ClassVar[Structures] = {"Heads": _Heads, "Attention": _Attention}

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.attends = bool(self._program.nima_attention_is_fast())

    def split_heads(self, x_BTC: torch.Tensor, heads: int, form: HeadForm) -> torch.Tensor:
        """Heads side by side, `[B, T, H D]`, become matrices `[B, H, T, D]`, and what `form` says.

        `x_BTC` may be some columns of a wider tensor.
        """
        batch, time, width = x_BTC.shape[0], x_BTC.shape[1], x_BTC.shape[2] // heads
        y_BHTD = x_BTC.new_empty(batch, heads, time, width)
        described = form.describe(batch, time, heads, width, position_stride(x_BTC))
        self._program.nima_split_heads(kind(x_BTC), byref(described), x_BTC.data_ptr(), address(y_BHTD), self.threads)
        return y_BHTD

    def split_heads_gradient(
        self, x_BTC: torch.Tensor | None, grad_BHTD: torch.Tensor, form: HeadForm, out_BTC: torch.Tensor
    ) -> torch.Tensor | None:
        """From the gradient of what `split_heads` gave, that of what it was given and, in float32, that of the gain.

        The former goes into `out_BTC`, which may be some columns of a wider tensor, and `x_BTC` such columns of one
        that is as wide. Without a gain `x_BTC` is not needed; without angles this joins heads.
        """
        batch, heads, time, width = grad_BHTD.shape
        grad_gain_D = torch.empty_like(form.gain_D) if form.gain_D is not None else None
        stride = position_stride(out_BTC)
        assert out_BTC.shape == (batch, time, heads * width)
        assert form.gain_D is None or (x_BTC is not None and position_stride(x_BTC) == stride)
        described = form.describe(batch, time, heads, width, stride)
        self._program.nima_split_heads_gradient(
            kind(grad_BHTD, out_BTC, *([x_BTC] if x_BTC is not None else [])),
            byref(described),
            x_BTC.data_ptr() if x_BTC is not None else None,
            address(grad_BHTD),
            out_BTC.data_ptr(),
            address_or_null(grad_gain_D),
            self.threads,
        )
        return grad_gain_D

    def attention(
        self, q_BHTD: torch.Tensor, k_BGTD: torch.Tensor, v_BGTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Causal attention of bfloat16 heads, `[B, T, H D]`, and two tensors that its gradient needs.

        Queries have been scaled; G divides H.
        """
        batch, heads, time, width = q_BHTD.shape
        powers, inverses = c_int64(), c_int64()
        self._program.nima_attention_kept(time, byref(powers), byref(inverses))
        out_BTC = q_BHTD.new_empty(batch, time, heads * width)
        kept = q_BHTD.new_empty(batch * heads, powers.value), torch.empty(batch * heads, inverses.value)
        self._program.nima_attention(
            byref(_attention(q_BHTD, k_BGTD)), *map(address, (q_BHTD, k_BGTD, v_BGTD, out_BTC, *kept)), self.threads
        )
        return out_BTC, *kept

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
        self._program.nima_attention_gradient(
            byref(_attention(q_BHTD, k_BGTD)), *map(address, (q_BHTD, k_BGTD, v_BGTD, *kept, grad_BTC, *grads)),
            self.threads,
        )  # fmt: skip
        return grads


def _attention(q_BHTD: torch.Tensor, k_BGTD: torch.Tensor) -> _Attention:
    assert kind(q_BHTD, k_BGTD) == KINDS[torch.bfloat16]
    batch, heads, time, width = q_BHTD.shape
    return _Attention(batch, heads, k_BGTD.shape[1], time, width)
