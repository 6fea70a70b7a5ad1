"""Factors of products whose numbers a test knows, and what the numbers of a factor are."""

from dataclasses import replace

import torch

from nima_cli.engine.kernels.integers import Layout, PackedMatrix
from nima_cli.engine.kernels.kernels import Kernels


def integers(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Whole numbers that rounding leaves as they are, with scales of one: each row and column has a 127."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-127, 128, (rows, columns), generator=generator).float()
    x[torch.arange(rows), torch.arange(rows) % columns] = 127.0
    x[torch.arange(columns) % rows, torch.arange(columns)] = -127.0
    return x


def factor(kernels: Kernels, matrix: torch.Tensor, form: Layout) -> PackedMatrix:
    """The matrix itself, of such numbers, as a factor on that side, made from what the form makes it from."""
    x = matrix.T.contiguous() if form.transposed else matrix
    scales_of_rows = form.on_the_left != form.transposed
    (found,) = kernels.quantize_rows(x, form) if scales_of_rows else kernels.quantize_columns(x, form)
    assert found.scales is not None
    assert torch.equal(found.scales, torch.ones_like(found.scales))
    return found


def numbers_of(kernels: Kernels, found: PackedMatrix, *, on_the_left: bool) -> torch.Tensor:
    """What a factor is in a product with the identity: its integers times their scales, where it has any."""
    eye = torch.eye(found.shape[1] if on_the_left else found.shape[0])
    if on_the_left:
        return kernels.multiply(found, factor(kernels, 127.0 * eye, Layout.RIGHT), torch.empty(found.shape)) / 127.0
    if found.scales is None:
        found = replace(found, scales=torch.ones(found.shape[1]))
    return kernels.multiply(factor(kernels, 127.0 * eye, Layout.LEFT), found, torch.empty(found.shape)) / 127.0
