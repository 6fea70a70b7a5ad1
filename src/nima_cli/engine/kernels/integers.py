"""The kernels for 8-bit integers: rounding to them, their products, and what comes right after or before one.

Each integer stands for itself times a scale of its row or its column, which is the greatest magnitude there over 127.

Axis letters: N rows or positions · C columns · P columns of a product · F hidden width of the MLP
"""

from collections.abc import Iterator, Sequence
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int64, c_void_p
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch

from nima_cli.engine.kernels.loaded import Loaded, Signatures, Structures
from nima_cli.engine.kernels.packed_matrix import Factor, Form, FormsInC
from nima_cli.engine.kernels.tensors import address, address_or_null, kind, row_stride

_CACHE_LINE = 64  # bytes
_COLUMNS = 1024  # of one of torch's products: larger ones lie too far apart in memory
_SUMS = 1 << 22  # of one of them: 16 MB, read again while they are in the processor's last cache


class _Scaled(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("row_scales", "column_scales", "plus")),
        ("factor", c_float),
        ("y", c_void_p),
        ("stride", c_int64),
    )


class IntegerKernels(Loaded):
    """`quantize.cpp`, `integers.cpp` and, of `pointwise.cpp`, what rounds its results.

    Attributes:
        packs: whether factors are words for the program's own products, which is right everywhere, or matrices for
            torch's, which are faster on some processors.
    """

    SIGNATURES: ClassVar[Signatures] = {
        "nima_packed_size": (c_int, *2 * (c_int64,), *2 * (POINTER(c_int64),)),
        "nima_quantize_rows": (c_int, c_void_p, *2 * (c_int64,), POINTER(FormsInC), c_void_p, c_int),
        "nima_quantize_columns": (c_int, *2 * (c_void_p,), *2 * (c_int64,), POINTER(FormsInC), c_void_p, c_int),
        "nima_multiply_integers": (c_int, *3 * (c_void_p,), *3 * (c_int64,), c_int, POINTER(_Scaled), c_int),
        "nima_dequantize": (c_int, *3 * (c_void_p,), *2 * (c_int64,), c_void_p, c_float, c_void_p, c_int64, c_int),
        "nima_swiglu_quantized": (
            c_int, c_void_p, *2 * (c_int64,), c_void_p, POINTER(FormsInC), c_void_p, c_int,
        ),
        "nima_swiglu_gradient_quantized": (
            c_int, *2 * (c_void_p,), *2 * (c_int64,), POINTER(FormsInC), c_void_p, c_int,
        ),
    }  # fmt: skip

    STRUCTURES: ClassVar[Structures] = {"Forms": FormsInC, "Scaled": _Scaled}

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.packs = bool(self._program.nima_integers_are_fast())

    def quantize_rows(self, x_NC: torch.Tensor, *forms: Form) -> list[Factor]:
        """The matrix as integers with a scale for each of the N rows, in each of the forms."""
        factors, wanted, scales_N = self._forms(x_NC.shape, forms, scaled=0)
        self._program.nima_quantize_rows(
            kind(x_NC), address(x_NC), *x_NC.shape, byref(wanted), address(scales_N), self.threads
        )
        return factors

    def quantize_columns(self, x_NC: torch.Tensor, *forms: Form, factors_N: torch.Tensor | None = None) -> list[Factor]:
        """The same with a scale for each of the C columns, of x with its rows times `factors_N`."""
        assert factors_N is None or (factors_N.dtype is torch.float32 and factors_N.shape == x_NC.shape[:1])
        factors, wanted, scales_C = self._forms(x_NC.shape, forms, scaled=1)
        self._program.nima_quantize_columns(
            kind(x_NC), address(x_NC), address_or_null(factors_N), *x_NC.shape, byref(wanted), address(scales_C),
            self.threads,
        )  # fmt: skip
        return factors

    def multiply(
        self,
        left: Factor,
        right: Factor,
        out_NP: torch.Tensor,
        *,
        plus_NP: torch.Tensor | None = None,
        factor: float = 1.0,
        symmetric: bool = False,
    ) -> torch.Tensor:
        """The product of two factors times their scales, written into `out_NP`; sums are exact.

        `plus_NP`, which may be `out_NP`, is added, times `factor`. Where the result is known to be `symmetric`, half of
        it may be computed.
        """
        assert left.shape[1] == right.shape[0]
        assert (left.shape[0], right.shape[1]) == out_NP.shape
        assert right.scales is not None
        if right.excess is None:
            _multiply_by_torch(self, left, right, out_NP, plus_NP, factor)
            return out_NP
        assert left.numbers.dtype is torch.int32, "both factors are words, or neither"
        stride = row_stride(out_NP)
        if plus_NP is not None:
            assert (plus_NP.shape, plus_NP.dtype, row_stride(plus_NP)) == (out_NP.shape, out_NP.dtype, stride)
        scaled = _Scaled(
            address_or_null(left.scales), address(right.scales), plus_NP.data_ptr() if plus_NP is not None else None,
            factor, out_NP.data_ptr(), stride,
        )  # fmt: skip
        self._program.nima_multiply_integers(
            kind(out_NP), *map(address, (left.numbers, right.numbers, right.excess)), *left.shape, right.shape[1],
            symmetric, byref(scaled), self.threads,
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

    def swiglu_quantized(self, x_NP: torch.Tensor, *forms: Form) -> tuple[torch.Tensor, list[Factor]]:
        """What `swiglu` makes of a matrix, and what `quantize_rows` makes of that."""
        rows, width = len(x_NP), x_NP.shape[1] // 2
        y_NF = x_NP.new_empty(rows, width)
        factors, wanted, scales_N = self._forms(y_NF.shape, forms, scaled=0)
        self._program.nima_swiglu_quantized(
            kind(x_NP), address(x_NP), rows, width, address(y_NF), byref(wanted), address(scales_N), self.threads
        )
        return y_NF, factors

    def swiglu_gradient_quantized(self, x_NP: torch.Tensor, grad_NF: torch.Tensor, *forms: Form) -> list[Factor]:
        """What `quantize_rows` makes of the result of `swiglu_gradient`, for matrices."""
        rows, width = grad_NF.shape
        assert x_NP.shape == (rows, 2 * width)
        factors, wanted, scales_N = self._forms(x_NP.shape, forms, scaled=0)
        self._program.nima_swiglu_gradient_quantized(
            kind(x_NP, grad_NF), *map(address, (x_NP, grad_NF)), rows, width, byref(wanted), address(scales_N),
            self.threads,
        )  # fmt: skip
        return factors

    def empty_factor(self, form: Form, rows: int, columns: int) -> Factor:
        """Room for a matrix `[rows, columns]` in a form, in words."""
        shape = (columns, rows) if form.transposed else (rows, columns)
        outer, sums = shape if form.on_the_left else reversed(shape)
        words, excess = c_int64(), c_int64()
        self._program.nima_packed_size(form.on_the_left, outer, sums, byref(words), byref(excess))
        return Factor(
            shape,
            torch.empty(words.value, dtype=torch.int32),
            excess=None if form.on_the_left else torch.empty(excess.value, dtype=torch.int32),
        )

    def _forms(
        self, shape: Sequence[int], forms: Sequence[Form], *, scaled: int
    ) -> tuple[list[Factor], FormsInC, torch.Tensor]:
        """Empty factors, what the program is told of them, and room for scales along the axis of the matrix."""
        rows, columns = shape
        scales, wanted, factors = torch.empty(shape[scaled]), FormsInC(), []
        plain = None if self.packs else empty_matrix(rows, columns)
        if plain is not None:
            wanted.plain, wanted.plain_stride = plain.data_ptr(), row_stride(plain)
        for form in forms:
            if plain is not None:
                numbers = plain.T if form.transposed else plain
                factor = Factor((numbers.shape[0], numbers.shape[1]), numbers)
            else:
                factor = self.empty_factor(form, rows, columns)
                setattr(wanted, form.value, address(factor.numbers))
                if factor.excess is not None:
                    setattr(wanted, "excess_transposed" if form.transposed else "excess", address(factor.excess))
            row_scales_stay_outside = form.on_the_left != form.transposed
            factors.append(replace(factor, scales=scales if row_scales_stay_outside == (scaled == 0) else None))
        return factors, wanted, scales


def empty_matrix(rows: int, columns: int) -> torch.Tensor:
    """An int8 matrix to be filled. Rows do not follow each other in steps of a large power of two.

    Numbers of one column, that far apart, would share a few lines of the processor's cache: the product with the
    transposed matrix takes a quarter longer then.
    """
    gap = _CACHE_LINE if columns % (8 * _CACHE_LINE) == 0 else 0
    return torch.empty(rows, columns + gap, dtype=torch.int8)[:, :columns]


def _multiply_by_torch(
    kernels: IntegerKernels,
    left: Factor,
    right: Factor,
    out_NP: torch.Tensor,
    plus_NP: torch.Tensor | None,
    factor: float,
) -> None:
    assert right.scales is not None
    rows, columns = out_NP.shape
    for part_P in _pieces(columns, _COLUMNS):
        for part_N in _pieces(rows, max(64, _SUMS // min(columns, _COLUMNS))):
            kernels.dequantize(
                torch._int_mm(left.numbers[part_N], right.numbers[:, part_P]),
                left.scales[part_N] if left.scales is not None else None,
                right.scales[part_P],
                out_NP[part_N, part_P],
                plus_NP=plus_NP[part_N, part_P] if plus_NP is not None else None,
                factor=factor,
            )


def _pieces(size: int, most: int) -> Iterator[slice]:
    """As few pieces of at most so many as there can be, all of them about as large."""
    count = -(-size // most)
    return (slice(size * piece // count, size * (piece + 1) // count) for piece in range(count))
