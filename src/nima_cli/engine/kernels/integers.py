"""The kernels for 8-bit integers: rounding to them, their products, and what comes right after or before one.

Each integer stands for itself times a scale of its row or its column, which is the greatest magnitude there over 127.

Axis letters: N rows or positions · C columns · P columns of a product · F hidden width of the MLP
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch

from nima_cli.engine.kernels.native import Layouts, NativeLibrary, Scaled, address, kind, row_stride


class Layout(Enum):
    """What a matrix is wanted as: the factor on one side, or the transposed matrix as that."""

    LEFT = "left"
    LEFT_TRANSPOSED = "left_transposed"
    RIGHT = "right"
    RIGHT_TRANSPOSED = "right_transposed"

    @property
    def on_the_left(self) -> bool:
        """Of the product."""
        return self in (Layout.LEFT, Layout.LEFT_TRANSPOSED)

    @property
    def transposed(self) -> bool:
        """Whether it is the transposed matrix."""
        return self in (Layout.LEFT_TRANSPOSED, Layout.RIGHT_TRANSPOSED)


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A factor of a product.

    Attributes:
        shape: rows and columns that it has in the product.
        data: int32 words of four integers each, in the order in which the program reads them.
        scales: float32, of each row if it is on the left, of each column if it is on the right. None where integers
            have theirs along the axis that is summed over: the other factor must bring them.
        zero_point_correction: what the program takes off of each column, of a right factor.
    """

    shape: tuple[int, int]
    data: torch.Tensor
    scales: torch.Tensor | None = None
    zero_point_correction: torch.Tensor | None = None


class IntegerKernels(NativeLibrary):
    """`quantize.cpp`, `integers.cpp` and, of `pointwise.cpp`, what rounds its results."""

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
        stride = row_stride(out_NP)
        if plus_NP is not None:
            assert (plus_NP.shape, plus_NP.dtype, row_stride(plus_NP)) == (out_NP.shape, out_NP.dtype, stride)
        plus = plus_NP.data_ptr() if plus_NP is not None else None
        scaled = Scaled(address(left.scales), address(right.scales), plus, factor, out_NP.data_ptr(), stride)
        factors = left.data, right.data, right.zero_point_correction
        sizes = (*left.shape, right.shape[1])
        self._call("multiply_integers", kind(out_NP), *factors, *sizes, symmetric, scaled)
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
        scales, into, packed = torch.empty(shape[scaled]), Layouts(), []
        for layout in layouts:
            empty = self.empty_packed(layout, *shape)
            setattr(into, layout.value, address(empty.data))
            if empty.zero_point_correction is not None:
                name = f"zero_point_correction{'_transposed' if layout.transposed else ''}"
                setattr(into, name, address(empty.zero_point_correction))
            row_scales_stay_outside = layout.on_the_left != layout.transposed
            packed.append(replace(empty, scales=scales if row_scales_stay_outside == (scaled == 0) else None))
        return packed, into, scales
