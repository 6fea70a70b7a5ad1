import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.blocked_attention import blocked_attention, kept_numbers
from nima_cli.engine.kernels.kernels import Kernels

Maybe = Kernels | None


def triple(time: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(time)
    return [
        torch.randn(3, time, 8, dtype=torch.float64, generator=generator).to(dtype).requires_grad_() for _ in range(3)
    ]


def torch_attention(q_NTD: torch.Tensor, k_NTD: torch.Tensor, v_NTD: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q_NTD, k_NTD, v_NTD, is_causal=True, scale=1.0)


def distance(found: torch.Tensor | None, expected: torch.Tensor | None) -> float:
    assert found is not None
    assert expected is not None
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("time", [1, 5, 128, 129, 300])
def test_it_is_causal_attention(time: int, kernels: Maybe) -> None:
    ours, theirs = triple(time, torch.float32), triple(time, torch.float32)
    out_NTD = blocked_attention(*ours, kernels=kernels)
    expected_NTD = torch_attention(*theirs)
    torch.testing.assert_close(out_NTD, expected_NTD)
    weight_NTD = torch.linspace(-1, 1, out_NTD.numel()).view_as(out_NTD)
    (out_NTD * weight_NTD).sum().backward()  # type: ignore[no-untyped-call]
    (expected_NTD * weight_NTD).sum().backward()  # type: ignore[no-untyped-call]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_in_bfloat16_its_gradients_are_as_near_as_torchs_own(kernels: Maybe) -> None:
    """Measured against float64: the rounding of scores to 16 bit must not be worse than what it replaces."""

    def errors(attend: Callable[..., torch.Tensor]) -> list[float]:
        exact, rough = triple(256, torch.float64), triple(256, torch.bfloat16)
        attend(*rough).float().square().sum().backward()  # type: ignore[no-untyped-call]
        torch_attention(*exact).square().sum().backward()  # type: ignore[no-untyped-call]
        return [distance(one.grad, other.grad) for one, other in zip(rough, exact, strict=True)]

    attend = functools.partial(blocked_attention, kernels=kernels)
    for ours, theirs in zip(errors(attend), errors(torch_attention), strict=True):
        assert ours < 0.02
        assert ours < 3 * theirs


def test_what_comes_later_has_no_influence(kernels: Maybe) -> None:
    q, k, v = triple(200, torch.float32)
    before = blocked_attention(q, k, v, kernels=kernels)[:, :150]
    with torch.no_grad():
        k[:, 150:], v[:, 150:] = 1e4, -1e4
    assert torch.equal(blocked_attention(q, k, v, kernels=kernels)[:, :150], before)


@pytest.mark.parametrize("time", [1, 128, 129, 300])
def test_what_it_keeps_is_what_the_plan_of_a_run_counts(time: int) -> None:
    kept: list[torch.Size] = []

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        blocked_attention(*triple(time, torch.float32))
    probabilities = kept[3:]  # after queries, keys and values
    assert sum(shape.numel() for shape in probabilities) == 3 * kept_numbers(time)
