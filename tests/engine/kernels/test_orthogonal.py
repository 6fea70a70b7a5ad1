"""Newton-Schulz: matrices come near to semi-orthogonal ones, and keep their directions."""

import pytest
import torch

from nima_cli.engine.kernels import orthogonal
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.orthogonal import orthogonalize


@pytest.mark.parametrize("size", [(32, 32), (16, 64), (64, 16), (96, 256)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalize_brings_singular_values_near_one(size: tuple[int, int], dtype: torch.dtype) -> None:
    matrices_KMN = torch.randn(3, *size, generator=torch.Generator().manual_seed(1)) * 1e-3
    values = torch.linalg.svdvals(orthogonalize(matrices_KMN, dtype))
    # A square random matrix has singular values near zero, which five steps lift but not all the way.
    lifted = values if size[0] != size[1] else values[:, : size[0] * 9 // 10]
    assert 0.6 <= lifted.min() <= lifted.max() <= 1.3
    assert values.max() <= 1.3


def test_orthogonalize_keeps_the_directions() -> None:
    left, _, right = torch.linalg.svd(torch.randn(12, 20, generator=torch.Generator().manual_seed(2)), False)
    matrix = left @ torch.diag(torch.linspace(1.0, 3.0, 12)) @ right
    found = left.T @ orthogonalize(matrix[None], torch.float32)[0] @ right.T
    assert (found - torch.diag(found.diag())).abs().max() < 1e-4
    assert (found.diag() > 0.6).all()


@pytest.mark.parametrize("size", [(512, 512), (512, 700), (700, 512)])
def test_with_int8_large_matrices_come_as_near(int8_kernels: Kernels, size: tuple[int, int]) -> None:
    matrices_KMN = torch.randn(2, *size, generator=torch.Generator().manual_seed(1)) * 1e-3
    left_KMR, _, right_KRN = torch.linalg.svd(matrices_KMN, full_matrices=False)
    ours, theirs = (orthogonalize(matrices_KMN, torch.bfloat16, kernels) for kernels in (int8_kernels, None))
    assert (ours.shape, ours.dtype) == (matrices_KMN.shape, torch.float32)
    assert not torch.equal(ours, theirs)
    polar_KMN = left_KMR @ right_KRN
    assert float((ours - polar_KMN).norm()) < 1.05 * float((theirs - polar_KMN).norm())
    values = torch.linalg.svdvals(ours)
    lifted = values if size[0] != size[1] else values[:, : 512 * 9 // 10]
    assert 0.6 <= lifted.min() <= lifted.max() <= 1.3


def test_each_matrix_is_its_own(int8_kernels: Kernels) -> None:
    matrices_KMN = torch.randn(3, 512, 520, generator=torch.Generator().manual_seed(2))
    together = orthogonalize(matrices_KMN, torch.bfloat16, int8_kernels)
    assert torch.equal(together[1], orthogonalize(matrices_KMN[1:2] * 4.0, torch.bfloat16, int8_kernels)[0])


def test_small_matrices_are_not_rounded(int8_kernels: Kernels, compiled_kernels: Kernels) -> None:
    size = orthogonal._INT8_ROWS
    for rows, kernels in ((size - 1, int8_kernels), (size, compiled_kernels)):
        matrices_KMN = torch.randn(1, rows, size, generator=torch.Generator().manual_seed(3))
        found = orthogonalize(matrices_KMN, torch.float32, kernels)
        assert torch.equal(found, orthogonalize(matrices_KMN, torch.float32))
