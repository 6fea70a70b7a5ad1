"""The kernels for 8-bit integers: rounding to them, their products, and what comes right after or before one.

Each integer stands for itself times a scale of its row or its column, which is the greatest magnitude there over 127.

Axis letters: N rows or positions · C columns · K what is summed over · P columns of a product · V vocabulary ·
F hidden width of the MLP
"""

from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import ClassVar

import torch

from nima_cli.engine.native.loaded import Loaded, Signatures
from nima_cli.engine.native.tensors import address, address_or_null, kind, row_stride

_CACHE_LINE = 64  # bytes


class _Integer8(Structure):
    _fields_ = (("numbers", c_void_p), ("stride", c_int64), ("transposed", c_int))


class _Scaled(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("row_scales", "column_scales", "plus")),
        ("factor", c_float),
        ("y", c_void_p),
        ("stride", c_int64),
    )


class IntegerKernels(Loaded):
    """`quantize.cpp` and `integers.cpp`.

    Attributes:
        multiplies: whether `multiply` is faster here than torch's product; it is right everywhere.
    """

    SIGNATURES: ClassVar[Signatures] = {
        "nima_quantize_rows": (c_int, c_void_p, *2 * (c_int64,), c_void_p, c_int64, c_void_p, c_int),
        "nima_quantize_columns": (c_int, *2 * (c_void_p,), *2 * (c_int64,), c_void_p, c_int64, c_void_p, c_int),
        "nima_multiply_integers": (
            c_int, *2 * (POINTER(_Integer8),), *3 * (c_int64,), c_int, POINTER(_Scaled), c_int,
        ),
        "nima_dequantize": (c_int, *3 * (c_void_p,), *2 * (c_int64,), c_void_p, c_float, c_void_p, c_int64, c_int),
        "nima_swiglu_quantized": (c_int, c_void_p, *2 * (c_int64,), *2 * (c_void_p,), c_int64, c_void_p, c_int),
        "nima_swiglu_gradient_quantized": (
            c_int, *2 * (c_void_p,), *2 * (c_int64,), c_void_p, c_int64, c_void_p, c_int,
        ),
        "nima_quantized_cross_entropy": (
            *4 * (c_void_p,), *3 * (c_int64,), *2 * (c_void_p,), c_int64, c_void_p, c_int,
        ),
    }  # fmt: skip

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.multiplies = bool(self._program.nima_integers_are_fast())

    @staticmethod
    def integers(rows: int, columns: int) -> torch.Tensor:
        """An empty int8 matrix. Rows do not follow each other in steps of a large power of two.

        Numbers of one column, that far apart, would share a few lines of the processor's cache: the product with the
        transposed matrix takes a quarter longer then.
        """
        gap = _CACHE_LINE if columns % (8 * _CACHE_LINE) == 0 else 0
        return torch.empty(rows, columns + gap, dtype=torch.int8)[:, :columns]

    def quantize_rows(self, x_NC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """int8 numbers, as `integers` has them, and a float32 scale for each of the N rows."""
        q_NC, scales_N = self.integers(*x_NC.shape), torch.empty(len(x_NC))
        self._program.nima_quantize_rows(
            kind(x_NC), address(x_NC), *x_NC.shape, q_NC.data_ptr(), row_stride(q_NC), address(scales_N),
            self.threads,
        )  # fmt: skip
        return q_NC, scales_N

    def quantize_columns(
        self, x_NC: torch.Tensor, factors_N: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with a scale for each of the C columns, of x with its rows times the factors."""
        assert factors_N is None or (factors_N.dtype is torch.float32 and factors_N.shape == x_NC.shape[:1])
        q_NC, scales_C = self.integers(*x_NC.shape), torch.empty(x_NC.shape[1])
        self._program.nima_quantize_columns(
            kind(x_NC), address(x_NC), address_or_null(factors_N), *x_NC.shape, q_NC.data_ptr(), row_stride(q_NC),
            address(scales_C), self.threads,
        )  # fmt: skip
        return q_NC, scales_C

    def multiply(
        self,
        q_NK: torch.Tensor,
        scales_N: torch.Tensor | None,
        q_KP: torch.Tensor,
        scales_P: torch.Tensor,
        out_NP: torch.Tensor,
        *,
        plus_NP: torch.Tensor | None = None,
        factor: float = 1.0,
        symmetric: bool = False,
    ) -> torch.Tensor:
        """`dequantize` of the product of two int8 matrices, either of which may be the transposed of one.

        Of a result that is `symmetric`, only half is computed.
        """
        assert q_NK.dtype is q_KP.dtype is torch.int8
        assert q_NK.shape[1] == q_KP.shape[0]
        assert (q_NK.shape[0], q_KP.shape[1]) == out_NP.shape
        assert scales_N is None or scales_N.shape == out_NP.shape[:1]
        assert scales_P.shape == out_NP.shape[1:]
        stride = row_stride(out_NP)
        if plus_NP is not None:
            assert (plus_NP.shape, plus_NP.dtype, row_stride(plus_NP)) == (out_NP.shape, out_NP.dtype, stride)
        scaled = _Scaled(
            address_or_null(scales_N), address(scales_P), plus_NP.data_ptr() if plus_NP is not None else None, factor,
            out_NP.data_ptr(), stride,
        )  # fmt: skip
        self._program.nima_multiply_integers(
            kind(out_NP), *map(byref, map(_integers, (q_NK, q_KP))), len(q_NK), *q_KP.shape, symmetric, byref(scaled),
            self.threads,
        )  # fmt: skip
        return out_NP

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

        `plus_NP`, which may be `out_NP`, is added, times the factor. Both may be some columns of wider matrices.
        """
        assert sums_NP.dtype is torch.int32
        assert sums_NP.shape == out_NP.shape
        assert scales_N is None or scales_N.shape == sums_NP.shape[:1]
        assert scales_P.shape == sums_NP.shape[1:]
        stride = row_stride(out_NP)
        if plus_NP is not None:
            assert (plus_NP.shape, plus_NP.dtype, row_stride(plus_NP)) == (out_NP.shape, out_NP.dtype, stride)
        self._program.nima_dequantize(
            kind(out_NP), address(sums_NP), address_or_null(scales_N), address(scales_P), *sums_NP.shape,
            plus_NP.data_ptr() if plus_NP is not None else None, factor, out_NP.data_ptr(), stride,
            self.threads,
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
            address(losses_N), out_NV.data_ptr(), row_stride(out_NV), address(out_scales_N), self.threads,
        )  # fmt: skip
        return losses_N, out_scales_N

    def swiglu_quantized(self, x_NP: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What `swiglu` makes of a matrix, and what `quantize_rows` makes of that."""
        rows, width = len(x_NP), x_NP.shape[1] // 2
        y_NF, q_NF, scales_N = x_NP.new_empty(rows, width), self.integers(rows, width), torch.empty(rows)
        self._program.nima_swiglu_quantized(
            kind(x_NP), address(x_NP), rows, width, address(y_NF), q_NF.data_ptr(), row_stride(q_NF),
            address(scales_N), self.threads,
        )  # fmt: skip
        return y_NF, q_NF, scales_N

    def swiglu_gradient_quantized(self, x_NP: torch.Tensor, grad_NF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `quantize_rows` makes of the result of `swiglu_gradient`, for matrices."""
        rows, width = grad_NF.shape
        assert x_NP.shape == (rows, 2 * width)
        q_NP, scales_N = self.integers(rows, 2 * width), torch.empty(rows)
        self._program.nima_swiglu_gradient_quantized(
            kind(x_NP, grad_NF), *map(address, (x_NP, grad_NF)), rows, width, q_NP.data_ptr(), row_stride(q_NP),
            address(scales_N), self.threads,
        )  # fmt: skip
        return q_NP, scales_N


def _integers(q_NK: torch.Tensor) -> _Integer8:
    transposed = q_NK.stride(1) != 1
    return _Integer8(q_NK.data_ptr(), row_stride(q_NK.T if transposed else q_NK), transposed)
