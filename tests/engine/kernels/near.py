"""What the tests of kernels compare with: the same function in float64."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

IGNORE = -100
EPSILON = 1e-6
# Of a number near one: half a unit in the last place of bfloat16, and float32 with a few operations.
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 2.0**-8}
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def numbers(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def exact(tensor: torch.Tensor) -> torch.Tensor:
    """The same in float64, with a gradient."""
    return tensor.detach().double().requires_grad_()


def assert_near(found: torch.Tensor, expected: torch.Tensor, factor: float = 1.0) -> None:
    """Within rounding of the greatest number there is; `factor` is for sums of many."""
    scale = max(1.0, float(expected.detach().abs().max()))
    assert float((found.double() - expected.detach()).abs().max()) <= factor * TOLERANCE[found.dtype] * scale


def gradients_of(
    function: type[torch.autograd.Function], grads: Sequence[torch.Tensor], *arguments: Any
) -> list[torch.Tensor]:
    """Of the floating-point tensors among the arguments, from those of the results."""
    leaves = [
        given.detach().clone().requires_grad_()
        if isinstance(given, torch.Tensor) and given.is_floating_point()
        else given
        for given in arguments
    ]
    found = function.apply(*leaves)  # type: ignore[no-untyped-call]
    torch.autograd.backward(found, grads if isinstance(found, tuple) else grads[0])
    return [leaf.grad for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.grad is not None]
