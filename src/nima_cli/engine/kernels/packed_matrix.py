"""A matrix of 8-bit integers as one of the factors of a product."""

from ctypes import Structure, c_int64, c_void_p
from dataclasses import dataclass
from enum import Enum

import torch


class Form(Enum):
    """What a matrix is wanted as: the factor on one side, or the transposed matrix as that."""

    LEFT = "left"
    LEFT_TRANSPOSED = "left_transposed"
    RIGHT = "right"
    RIGHT_TRANSPOSED = "right_transposed"

    @property
    def on_the_left(self) -> bool:
        """Of the product."""
        return self in (Form.LEFT, Form.LEFT_TRANSPOSED)

    @property
    def transposed(self) -> bool:
        """Whether it is the transposed matrix."""
        return self in (Form.LEFT_TRANSPOSED, Form.RIGHT_TRANSPOSED)


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor.

    Attributes:
        shape: rows and columns that it has in the product.
        numbers: int8, of that shape, or words in the order in which the program reads them.
        scales: float32, of each row if it is on the left, of each column if it is on the right. None where integers
            have theirs along the axis that is summed over: the other factor must bring them.
        excess: what the program takes off of each column, of a right factor in words.
    """

    shape: tuple[int, int]
    numbers: torch.Tensor
    scales: torch.Tensor | None = None
    excess: torch.Tensor | None = None


class FormsInC(Structure):
    """`Forms` of `packing.h`."""

    _fields_ = (
        *((form.value, c_void_p) for form in Form),
        *((name, c_void_p) for name in ("excess", "excess_transposed", "plain")),
        ("plain_stride", c_int64),
    )
