"""The kernels for 8-bit integers: rounding to them, their products, and the cross-entropy of a product.

An integer stands for itself times the scale of its row or column: the greatest magnitude there over 127.

Axis letters: N rows or positions · C columns · P columns of a product · F hidden width of the MLP · V vocabulary
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import torch

from nima_cli.engine.kernels.native import Head, Layouts, NativeLibrary, Scaled, Targets, address, kind, row_stride


class Layout(Enum):
    """The side of the product on which a matrix, or its transpose, is the factor."""

    LEFT = "left"
    LEFT_TRANSPOSED = "left_transposed"
    RIGHT = "right"
    RIGHT_TRANSPOSED = "right_transposed"

    @property
    def on_the_left(self) -> bool:
        return self.value.startswith("left")

    @property
    def transposed(self) -> bool:
        return self.value.endswith("transposed")


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A factor of a product.

    Attributes:
        shape: rows and columns in the product.
        data: int32 words of four integers, in the program's order.
        scales: float32, of each row of a left factor or each column of a right one; None if the scales are along the
            axis that is summed over, where the other factor must contain them.
        zero_point_correction: what the program subtracts from each column, of a right factor.
    """

    shape: tuple[int, int]
    data: torch.Tensor
    scales: torch.Tensor | None = None
    zero_point_correction: torch.Tensor | None = None


class OutputMatrix(NamedTuple):
    """The output matrix as two right factors: of hidden states, and of the logits' gradients."""

    head_CV: PackedMatrix
    head_VC: PackedMatrix


class IntegerKernels(NativeLibrary):
    """The kernels that make integers or multiply them."""

    def quantize_rows(self, x_NC: torch.Tensor, *layouts: Layout) -> list[PackedMatrix]:
        """Round a matrix with a scale for each row, in each of the layouts."""
        packed, into, scales_N = self._room(x_NC.shape, layouts, scaled=0)
        self.call("quantize_rows", kind(x_NC), x_NC, *x_NC.shape, into, scales_N)
        return packed

    def quantize_columns(
        self, x_NC: torch.Tensor, *layouts: Layout, factors_N: torch.Tensor | None = None
    ) -> list[PackedMatrix]:
        """Round a matrix, its rows times `factors_N`, with a scale for each column."""
        assert factors_N is None or (factors_N.dtype is torch.float32 and factors_N.shape == x_NC.shape[:1])
        packed, into, scales_C = self._room(x_NC.shape, layouts, scaled=1)
        self.call("quantize_columns", kind(x_NC), x_NC, factors_N, *x_NC.shape, into, scales_C)
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
        """Write `left @ right + factor * plus_NP` into `out_NP`, which may be `plus_NP`; sums are exact.

        Of a result that is known to be `symmetric`, half may be computed.
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
        self.call("multiply_integers", kind(out_NP), *factors, *sizes, symmetric, scaled)
        return out_NP

    def swiglu_quantized(self, x_NP: torch.Tensor, *layouts: Layout) -> tuple[torch.Tensor, list[PackedMatrix]]:
        """SwiGLU of a matrix, and the same rounded by rows."""
        y_NF = x_NP.new_empty(len(x_NP), x_NP.shape[1] // 2)
        packed, into, scales_N = self._room(y_NF.shape, layouts, scaled=0)
        self.call("swiglu_quantized", kind(x_NP), x_NP, *y_NF.shape, y_NF, into, scales_N)
        return y_NF, packed

    def swiglu_gradient_quantized(
        self, x_NP: torch.Tensor, grad_NF: torch.Tensor, *layouts: Layout
    ) -> list[PackedMatrix]:
        """The gradient of SwiGLU, rounded by rows."""
        rows, width = grad_NF.shape
        assert x_NP.shape == (rows, 2 * width)
        packed, into, scales_N = self._room(x_NP.shape, layouts, scaled=0)
        types = kind(x_NP, grad_NF)
        self.call("swiglu_gradient_quantized", types, x_NP, grad_NF, rows, width, into, scales_N)
        return packed

    def linear_cross_entropy(
        self, h_NC: PackedMatrix, head: OutputMatrix, targets_N: torch.Tensor, *, ignored: int, out_NC: torch.Tensor
    ) -> tuple[torch.Tensor, PackedMatrix, torch.Tensor]:
        """Losses `[N]` of hidden states, probabilities as a factor `[V, N]`, and their scales `[N]`.

        The product of probabilities and output matrix is written into `out_NC`. Where the target is `ignored`, losses
        and probabilities are zero.
        """
        head_CV, head_VC = head
        positions, vocabulary = len(targets_N), head_VC.shape[0]
        assert h_NC.shape == out_NC.shape == (positions, head_VC.shape[1])
        assert head_CV.shape == (h_NC.shape[1], vocabulary)
        assert targets_N.dtype is torch.int64
        parts = [getattr(each, part) for part in ("data", "zero_point_correction", "scales") for each in head]
        described = Head(*map(address, parts)), Targets(address(targets_N), ignored)
        losses_N, scales_N = torch.empty(positions), torch.empty(positions)
        probs_VN = self.empty_packed(Layout.LEFT_TRANSPOSED, positions, vocabulary)
        given, into = (h_NC.data, h_NC.scales, *described), (losses_N, out_NC, probs_VN.data, scales_N)
        self.call("linear_cross_entropy", kind(out_NC), *given, *h_NC.shape, vocabulary, *into)
        return losses_N, probs_VN, scales_N

    def empty_packed(self, layout: Layout, rows: int, columns: int) -> PackedMatrix:
        """An uninitialised factor for a matrix `[rows, columns]`."""
        shape = (columns, rows) if layout.transposed else (rows, columns)
        outer, sums = shape if layout.on_the_left else reversed(shape)
        data = torch.empty(self.ask("packed_size", layout.on_the_left, outer, sums), dtype=torch.int32)
        if layout.on_the_left:
            return PackedMatrix(shape, data)
        correction = torch.empty(self.ask("correction_size", outer), dtype=torch.int32)
        return PackedMatrix(shape, data, zero_point_correction=correction)

    def _room(
        self, shape: Sequence[int], layouts: Sequence[Layout], *, scaled: int
    ) -> tuple[list[PackedMatrix], Layouts, torch.Tensor]:
        """Uninitialised factors, their description for the program, and their scales along the axis `scaled`."""
        scales, into, packed = torch.empty(shape[scaled]), Layouts(), []
        for layout in layouts:
            empty = self.empty_packed(layout, *shape)
            setattr(into, layout.value, address(empty.data))
            if empty.zero_point_correction is not None:
                name = f"zero_point_correction{'_transposed' if layout.transposed else ''}"
                setattr(into, name, address(empty.zero_point_correction))
            scales_of_rows = layout.on_the_left != layout.transposed  # else they are summed over
            packed.append(replace(empty, scales=scales if scales_of_rows == (scaled == 0) else None))
        return packed, into, scales
