"""The kernels for 8-bit integers: rounding to them, their products, and what comes right after or before one.

Each integer stands for itself times a scale of its row or its column, which is the greatest magnitude there over 127.

Axis letters: N rows or positions · C columns · P columns of a product · F hidden width of the MLP
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nima_cli.engine.kernels.native import Layouts, NativeLibrary, Scaled, address, kind, row_stride
from nima_cli.engine.kernels.packed_matrix import Layout, PackedMatrix

_CACHE_LINE = 64  # bytes
_COLUMNS = 1024  # of one of torch's products: larger ones lie too far apart in memory
_SUMS = 1 << 22  # of one of them: 16 MB, read again while they are in the processor's last cache


class IntegerKernels(NativeLibrary):
    """`quantize.cpp`, `integers.cpp` and, of `pointwise.cpp`, what rounds its results.

    Attributes:
        packs: whether factors are words for the program's own products, which is right everywhere, or matrices for
            torch's, which are faster on some processors.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.packs = bool(self._ask("integers_are_fast"))

    def quantize_rows(self, x_NC: torch.Tensor, *layouts: Layout) -> list[PackedMatrix]:
        """The matrix as integers with a scale for each of the N rows, in each of the layouts."""
        packed, into, scales_N = self._room(x_NC.shape, layouts, scaled=0)
        self._call("quantize_rows", kind(x_NC), x_NC, *x_NC.shape, into, scales_N)
        return packed

    def quantize_columns(
        self, x_NC: torch.Tensor, *layouts: Layout, factors_N: torch.Tensor | None = None
    ) -> list[PackedMatrix]:
        """The same with a scale for each of the C columns, of x with its rows times `factors_N`."""
        assert factors_N is None or (factors_N.dtype is torch.float32 and factors_N.shape == x_NC.shape[:1])
        packed, into, scales_C = self._room(x_NC.shape, layouts, scaled=1)
        self._call("quantize_columns", kind(x_NC), x_NC, factors_N, *x_NC.shape, into, scales_C)
        return packed

    def multiply(
        self,
        left: PackedMatrix,
        right: PackedMatrix,
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
        if right.zero_point_correction is None:
            _multiply_by_torch(self, left, right, out_NP, plus_NP, factor)
            return out_NP
        assert left.data.dtype is torch.int32, "both factors are words, or neither"
        plus, out, stride = _summand_and_result(plus_NP, out_NP)
        scaled = Scaled(address(left.scales), address(right.scales), plus, factor, out, stride)
        factors = left.data, right.data, right.zero_point_correction
        sizes = (*left.shape, right.shape[1])
        self._call("multiply_integers", kind(out_NP), *factors, *sizes, symmetric, scaled)
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
        plus, out, stride = _summand_and_result(plus_NP, out_NP)
        given = sums_NP, scales_N, scales_P
        self._call("dequantize", kind(out_NP), *given, *sums_NP.shape, plus, factor, out, stride)
        return out_NP

    def swiglu_quantized(self, x_NP: torch.Tensor, *layouts: Layout) -> tuple[torch.Tensor, list[PackedMatrix]]:
        """What `swiglu` makes of a matrix, and what `quantize_rows` makes of that."""
        rows, width = len(x_NP), x_NP.shape[1] // 2
        y_NF = x_NP.new_empty(rows, width)
        packed, into, scales_N = self._room(y_NF.shape, layouts, scaled=0)
        self._call("swiglu_quantized", kind(x_NP), x_NP, rows, width, y_NF, into, scales_N)
        return y_NF, packed

    def swiglu_gradient_quantized(
        self, x_NP: torch.Tensor, grad_NF: torch.Tensor, *layouts: Layout
    ) -> list[PackedMatrix]:
        """What `quantize_rows` makes of the result of `swiglu_gradient`, for matrices."""
        rows, width = grad_NF.shape
        assert x_NP.shape == (rows, 2 * width)
        packed, into, scales_N = self._room(x_NP.shape, layouts, scaled=0)
        types = kind(x_NP, grad_NF)
        self._call("swiglu_gradient_quantized", types, x_NP, grad_NF, rows, width, into, scales_N)
        return packed

    def empty_packed(self, layout: Layout, rows: int, columns: int) -> PackedMatrix:
        """Room for a matrix `[rows, columns]` in a layout, in words."""
        shape = (columns, rows) if layout.transposed else (rows, columns)
        outer, sums = shape if layout.on_the_left else reversed(shape)
        data = torch.empty(self._ask("packed_size", layout.on_the_left, outer, sums), dtype=torch.int32)
        if layout.on_the_left:
            return PackedMatrix(shape, data)
        correction = torch.empty(self._ask("correction_size", outer), dtype=torch.int32)
        return PackedMatrix(shape, data, zero_point_correction=correction)

    def _room(
        self, shape: Sequence[int], layouts: Sequence[Layout], *, scaled: int
    ) -> tuple[list[PackedMatrix], Layouts, torch.Tensor]:
        """Empty factors, what the program is told of them, and room for scales along the axis of the matrix."""
        rows, columns = shape
        scales, into, packed = torch.empty(shape[scaled]), Layouts(), []
        plain = None if self.packs else empty_matrix(rows, columns)
        if plain is not None:
            into.plain, into.plain_stride = plain.data_ptr(), row_stride(plain)
        for layout in layouts:
            if plain is not None:
                data = plain.T if layout.transposed else plain
                empty = PackedMatrix((data.shape[0], data.shape[1]), data)
            else:
                empty = self.empty_packed(layout, rows, columns)
                setattr(into, layout.value, address(empty.data))
                if empty.zero_point_correction is not None:
                    name = f"zero_point_correction{'_transposed' if layout.transposed else ''}"
                    setattr(into, name, address(empty.zero_point_correction))
            row_scales_stay_outside = layout.on_the_left != layout.transposed
            packed.append(replace(empty, scales=scales if row_scales_stay_outside == (scaled == 0) else None))
        return packed, into, scales


def _summand_and_result(plus_NP: torch.Tensor | None, out_NP: torch.Tensor) -> tuple[int | None, int, int]:
    """The addresses of both, whose rows are equally far apart, and how far."""
    stride = row_stride(out_NP)
    if plus_NP is None:
        return None, out_NP.data_ptr(), stride
    assert (plus_NP.shape, plus_NP.dtype, row_stride(plus_NP)) == (out_NP.shape, out_NP.dtype, stride)
    return plus_NP.data_ptr(), out_NP.data_ptr(), stride


def empty_matrix(rows: int, columns: int) -> torch.Tensor:
    """An int8 matrix to be filled. Rows do not follow each other in steps of a large power of two.

    Numbers of one column, that far apart, would share a few lines of the processor's cache: the product with the
    transposed matrix takes a quarter longer then.
    """
    gap = _CACHE_LINE if columns % (8 * _CACHE_LINE) == 0 else 0
    return torch.empty(rows, columns + gap, dtype=torch.int8)[:, :columns]


def _multiply_by_torch(
    kernels: IntegerKernels,
    left: PackedMatrix,
    right: PackedMatrix,
    out_NP: torch.Tensor,
    plus_NP: torch.Tensor | None,
    factor: float,
) -> None:
    assert right.scales is not None
    rows, columns = out_NP.shape
    for part_P in _pieces(columns, _COLUMNS):
        for part_N in _pieces(rows, max(64, _SUMS // min(columns, _COLUMNS))):
            kernels.dequantize(
                torch._int_mm(left.data[part_N], right.data[:, part_P]),
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
