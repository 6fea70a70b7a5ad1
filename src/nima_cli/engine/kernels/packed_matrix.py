"""A matrix of 8-bit integers as one of the factors of a product."""

from dataclasses import dataclass
from enum import Enum

import torch


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
