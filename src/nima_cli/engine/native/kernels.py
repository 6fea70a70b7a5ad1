"""What training on a CPU computes beside matrix products, by a compiled program; knows no model and no loss.

Each method is one pass over memory in torch's own threads. A number comes out the same whatever the number of threads.
Tensors must be contiguous, on the CPU, and in float32 or bfloat16; in between everything is float32.

Axis letters: N matrices or positions · S rows of a block · E columns of a block · V vocabulary · C width · B batch ·
T time · H heads · D head width
"""

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path

import torch

from nima_cli.engine.native.build import library
from nima_cli.engine.native.program import KERNELS
from nima_cli.engine.native.tensors import KINDS, address, address_or_null, kind, position_stride, rows_of


class _Heads(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("batch", "time", "heads", "width", "stride")),
        *((name, c_void_p) for name in ("gain", "cosines", "sines")),
        ("epsilon", c_float),
        ("factor", c_float),
    )


_SIGNATURES = {
    "nima_causal_softmax": (c_int, c_void_p, c_int64, c_int64, c_int64, c_int),
    "nima_causal_softmax_gradient": (c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int),
    "nima_cross_entropy": (c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int),
    "nima_add_norm": (c_int, *3 * (c_void_p,), c_int64, c_int64, c_float, c_void_p, c_void_p, c_int),
    "nima_add_norm_gradient": (c_int, *4 * (c_void_p,), c_int64, c_int64, c_float, c_void_p, c_void_p, c_int),
    "nima_split_heads": (c_int, POINTER(_Heads), c_void_p, c_void_p, c_int),
    "nima_split_heads_gradient": (c_int, POINTER(_Heads), c_void_p, c_void_p, c_void_p, c_void_p, c_int),
    "nima_swiglu": (c_int, c_void_p, c_int64, c_int64, c_void_p, c_int),
    "nima_swiglu_gradient": (c_int, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int),
    "nima_accumulate": (c_int, c_void_p, c_int64, c_void_p, c_int64, c_int64, c_int),
    "nima_quantize_rows": (c_int, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int),
    "nima_quantize_columns": (c_int, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int),
    "nima_dequantize": (c_int, *3 * (c_void_p,), c_int64, c_int64, c_void_p, c_float, c_void_p, c_int),
    "nima_quantized_cross_entropy": (*4 * (c_void_p,), *3 * (c_int64,), *3 * (c_void_p,), c_int),
    "nima_drop": (c_int, c_void_p, c_void_p, c_float, c_int64, c_void_p, c_int),
}


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


def load_kernels(folder: Path | None, *, int8: bool = False) -> "Kernels | None":
    """The kernels of this machine, compiled if `folder` does not hold them yet; None where they cannot be had.

    Args:
        folder: of compiled programs; None has none.
        int8: what the kernels' attribute says.
    """
    path = library(KERNELS, folder) if folder is not None else None
    try:
        return Kernels(path, int8=int8) if path is not None else None
    except OSError:  # a folder that nothing may be run from, or a torch without the threads that they need
        return None


class Kernels:
    """The compiled program with checks on what it is given.

    Attributes:
        int8: whether what trains with them multiplies 8-bit integers.

    Raises:
        OSError: it cannot be loaded here.
    """

    def __init__(self, path: Path, *, int8: bool = False) -> None:
        self.int8 = int8
        self._program = ctypes.CDLL(str(path))
        for name, types in _SIGNATURES.items():
            function = getattr(self._program, name)
            function.argtypes, function.restype = types, None

    @staticmethod
    def fit(tensor: torch.Tensor) -> bool:
        """Whether this is a tensor that they compute with."""
        return tensor.device.type == "cpu" and tensor.dtype in KINDS

    def causal_softmax_(self, scores_NSE: torch.Tensor) -> torch.Tensor:
        """Softmax of each row in place; the last of the S rows sees all columns, each before it one less."""
        self._program.nima_causal_softmax(
            kind(scores_NSE), address(scores_NSE), *scores_NSE.shape, torch.get_num_threads()
        )
        return scores_NSE

    def causal_softmax_gradient_(self, probs_NSE: torch.Tensor, grad_NSE: torch.Tensor) -> torch.Tensor:
        """Turn the gradient of what `causal_softmax_` gave into that of what it was given, in place."""
        assert probs_NSE.shape == grad_NSE.shape
        self._program.nima_causal_softmax_gradient(
            kind(probs_NSE, grad_NSE),
            address(probs_NSE),
            address(grad_NSE),
            *probs_NSE.shape,
            torch.get_num_threads(),
        )
        return grad_NSE

    def cross_entropy_(self, logits_NV: torch.Tensor, targets_N: torch.Tensor, *, ignored: int) -> torch.Tensor:
        """Turn logits into the loss's gradient in place, zero where the target is `ignored`; float32 losses `[N]`."""
        assert targets_N.dtype is torch.int64
        losses_N = torch.empty(len(targets_N))
        self._program.nima_cross_entropy(
            kind(logits_NV),
            address(logits_NV),
            address(targets_N),
            ignored,
            *logits_NV.shape,
            address(losses_N),
            torch.get_num_threads(),
        )
        return losses_N

    def add_norm(
        self, x_NC: torch.Tensor, branch_NC: torch.Tensor | None, gain_C: torch.Tensor, epsilon: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum of both, and that divided by each row's root mean square, times the float32 gain."""
        assert gain_C.dtype is torch.float32
        assert branch_NC is None or branch_NC.shape == x_NC.shape
        total_NC = torch.empty_like(x_NC) if branch_NC is not None else x_NC
        normed_NC = torch.empty_like(x_NC)
        self._program.nima_add_norm(
            kind(x_NC, *([branch_NC] if branch_NC is not None else [])),
            address(x_NC),
            address_or_null(branch_NC),
            address(gain_C),
            *rows_of(x_NC),
            epsilon,
            address(total_NC),
            address(normed_NC),
            torch.get_num_threads(),
        )
        return total_NC, normed_NC

    def add_norm_gradient(
        self,
        total_NC: torch.Tensor,
        gain_C: torch.Tensor,
        epsilon: float,
        *,
        grad_total_NC: torch.Tensor | None,
        grad_normed_NC: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From the gradients of what `add_norm` gave, that of each summand and, in float32, that of the gain."""
        grad_x_NC, grad_gain_C = torch.empty_like(total_NC), torch.empty_like(gain_C)
        self._program.nima_add_norm_gradient(
            kind(total_NC, grad_normed_NC, *([grad_total_NC] if grad_total_NC is not None else [])),
            address(total_NC),
            address(gain_C),
            address(grad_normed_NC),
            address_or_null(grad_total_NC),
            *rows_of(total_NC),
            epsilon,
            address(grad_x_NC),
            address(grad_gain_C),
            torch.get_num_threads(),
        )
        return grad_x_NC, grad_gain_C

    def split_heads(self, x_BTC: torch.Tensor, heads: int, form: HeadForm) -> torch.Tensor:
        """Heads side by side, `[B, T, H D]`, become matrices `[B, H, T, D]`, and what `form` says.

        `x_BTC` may be some columns of a wider tensor.
        """
        batch, time, width = x_BTC.shape[0], x_BTC.shape[1], x_BTC.shape[2] // heads
        y_BHTD = x_BTC.new_empty(batch, heads, time, width)
        described = form.describe(batch, time, heads, width, position_stride(x_BTC))
        self._program.nima_split_heads(
            kind(x_BTC), byref(described), x_BTC.data_ptr(), address(y_BHTD), torch.get_num_threads()
        )
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
            torch.get_num_threads(),
        )
        return grad_gain_D

    def swiglu(self, x_NC: torch.Tensor) -> torch.Tensor:
        """`silu(gate) * up`, the gate being the first half of the last axis."""
        rows, width = rows_of(x_NC)
        y_NF = x_NC.new_empty(*x_NC.shape[:-1], width // 2)
        self._program.nima_swiglu(kind(x_NC), address(x_NC), rows, width // 2, address(y_NF), torch.get_num_threads())
        return y_NF

    def swiglu_gradient(self, x_NC: torch.Tensor, grad_NF: torch.Tensor) -> torch.Tensor:
        """From the gradient of what `swiglu` gave, that of what it was given."""
        rows, width = rows_of(x_NC)
        assert rows_of(grad_NF) == (rows, width // 2)
        grad_x_NC = torch.empty_like(x_NC)
        self._program.nima_swiglu_gradient(
            kind(x_NC, grad_NF),
            *map(address, (x_NC, grad_NF)),
            rows,
            width // 2,
            address(grad_x_NC),
            torch.get_num_threads(),
        )
        return grad_x_NC

    def accumulate_(self, total: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """`total += part` for a float32 `total` whose first axis may have gaps; torch would widen `part` first."""
        assert total.dtype is torch.float32
        assert total.shape == part.shape
        assert total[0].is_contiguous()
        self._program.nima_accumulate(
            kind(part), total.data_ptr(), total.stride(0), address(part), len(part), part[0].numel(),
            torch.get_num_threads(),
        )  # fmt: skip
        return total

    def drop(self, x: torch.Tensor, keep: torch.Tensor, factor: float) -> torch.Tensor:
        """`x * keep * factor`, of any shape; also its own gradient."""
        assert keep.dtype is torch.bool
        assert keep.shape == x.shape
        y = torch.empty_like(x)
        self._program.nima_drop(
            kind(x), address(x), address(keep), factor, x.numel(), address(y), torch.get_num_threads()
        )
        return y

    def quantize_rows(self, x_NC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int8 numbers and a float32 scale for each of the N rows."""
        q_NC, scales_N = torch.empty_like(x_NC, dtype=torch.int8), torch.empty(len(x_NC))
        self._program.nima_quantize_rows(
            kind(x_NC), address(x_NC), *x_NC.shape, address(q_NC), address(scales_N), torch.get_num_threads()
        )
        return q_NC, scales_N

    def quantize_columns(
        self, x_NC: torch.Tensor, factors_N: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """int8 numbers and a float32 scale for each of the C columns, of x with its rows times the factors."""
        assert factors_N is None or (factors_N.dtype is torch.float32 and factors_N.shape == x_NC.shape[:1])
        q_NC, scales_C = torch.empty_like(x_NC, dtype=torch.int8), torch.empty(x_NC.shape[1])
        self._program.nima_quantize_columns(
            kind(x_NC), address(x_NC), address_or_null(factors_N), *x_NC.shape, address(q_NC), address(scales_C),
            torch.get_num_threads(),
        )  # fmt: skip
        return q_NC, scales_C

    def dequantize(
        self,
        sums_NP: torch.Tensor,
        scales_N: torch.Tensor | None,
        scales_P: torch.Tensor,
        out_NP: torch.Tensor,
        *,
        plus_NP: torch.Tensor | None = None,
        factor: float = 1.0,
    ) -> torch.Tensor:
        """An integer product times the scales of its rows, where there are any, and columns, written into `out_NP`.

        `plus_NP`, which may be `out_NP`, is added, times the factor.
        """
        assert sums_NP.dtype is torch.int32
        assert sums_NP.shape == out_NP.shape
        assert scales_N is None or scales_N.shape == sums_NP.shape[:1]
        assert scales_P.shape == sums_NP.shape[1:]
        assert plus_NP is None or (plus_NP.shape, plus_NP.dtype) == (out_NP.shape, out_NP.dtype)
        self._program.nima_dequantize(
            kind(out_NP), address(sums_NP), address_or_null(scales_N), address(scales_P), *sums_NP.shape,
            address_or_null(plus_NP), factor, address(out_NP), torch.get_num_threads(),
        )  # fmt: skip
        return out_NP

    def quantized_cross_entropy(
        self,
        sums_NV: torch.Tensor,
        scales_N: torch.Tensor,
        scales_V: torch.Tensor,
        targets_N: torch.Tensor,
        *,
        ignored: int,
        out_NV: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses `[N]` of logits, which are integers times their scales, and the scales `[N]` of the probabilities.

        The probabilities themselves, rounded by chance, go into `out_NV` as int8.
        """
        assert (sums_NV.dtype, targets_N.dtype, out_NV.dtype) == (torch.int32, torch.int64, torch.int8)
        assert sums_NV.shape == out_NV.shape == (*scales_N.shape, *scales_V.shape)
        losses_N, out_scales_N = torch.empty(len(sums_NV)), torch.empty(len(sums_NV))
        self._program.nima_quantized_cross_entropy(
            *map(address, (sums_NV, scales_N, scales_V, targets_N)), ignored, *sums_NV.shape,
            *map(address, (losses_N, out_NV, out_scales_N)), torch.get_num_threads(),
        )  # fmt: skip
        return losses_N, out_scales_N
