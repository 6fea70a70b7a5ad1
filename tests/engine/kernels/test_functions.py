"""The differentiable functions of the kernels against the same functions in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.functions import AddNorm, Drop, HeadTransform, NativeAttention, SwiGLU
from nima_cli.engine.kernels.kernels import Kernels
from tests.engine.kernels.near import EPSILON, assert_near, dtypes, exact, gradients_of, numbers


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)  # type: ignore[no-untyped-call]


@dtypes
@pytest.mark.parametrize("width", [1, 16, 50])
@pytest.mark.parametrize("residual", [True, False])
def test_add_norm(compiled_kernels: Kernels, width: int, residual: bool, dtype: torch.dtype) -> None:
    x, branch, grad_normed, grad_total = (numbers(130, width, dtype=dtype, seed=seed) for seed in range(4))
    gain = numbers(width, dtype=torch.float32, seed=5)
    given = x, branch if residual else None, gain, EPSILON, compiled_kernels
    found = apply(AddNorm, *given)
    total, normed = found if residual else (x, found)
    assert torch.equal(total, x + branch if residual else x)
    wide, wide_gain = exact(total), exact(gain)
    expected = F.rms_norm(wide, (width,), wide_gain, EPSILON)
    assert_near(normed, expected)
    torch.autograd.backward([expected, wide * 1], [grad_normed.double(), grad_total.double() * residual])
    grad_x, *grad_branch, grad_gain = gradients_of(AddNorm, [grad_total, grad_normed][not residual :], *given)
    assert all(torch.equal(grad_x, each) for each in grad_branch)
    assert wide.grad is not None
    assert wide_gain.grad is not None
    assert_near(grad_x, wide.grad, factor=2)
    assert_near(grad_gain, wide_gain.grad, factor=4)


@dtypes
@pytest.mark.parametrize("width", [1, 16, 67, 480])
def test_swiglu(compiled_kernels: Kernels, width: int, dtype: torch.dtype) -> None:
    x, grad = numbers(2, 5, 2 * width, dtype=dtype) * 3, numbers(2, 5, width, dtype=dtype, seed=1)
    wide = exact(x)
    gate, up = wide.chunk(2, dim=-1)
    expected = F.silu(gate) * up
    assert_near(apply(SwiGLU, x, compiled_kernels), expected)
    torch.autograd.backward(expected, grad.double())
    assert wide.grad is not None
    (found,) = gradients_of(SwiGLU, [grad], x, compiled_kernels)
    assert_near(found, wide.grad)


def test_swiglu_of_what_is_far_from_zero(compiled_kernels: Kernels) -> None:
    gate = torch.tensor([[-1e30], [-200.0], [-90.0], [90.0], [200.0], [1e30]])
    found = apply(SwiGLU, torch.cat((gate, torch.ones_like(gate)), dim=1), compiled_kernels)
    torch.testing.assert_close(found, F.silu(gate), rtol=1e-6, atol=1e-6)


@dtypes
def test_drop(compiled_kernels: Kernels, dtype: torch.dtype) -> None:
    x, keep = numbers(50, 21, dtype=dtype), numbers(50, 21, dtype=torch.float32, seed=1) > 0
    expected = x * keep * (1 / 0.7)
    assert torch.equal(apply(Drop, x, keep, 1 / 0.7, compiled_kernels), expected)
    (found,) = gradients_of(Drop, [x], x, keep, 1 / 0.7, compiled_kernels)
    assert torch.equal(found, expected)


def test_bfloat16_is_rounded_to_the_nearest_and_of_two_to_the_even_one(compiled_kernels: Kernels) -> None:
    """By way of a residual sum, whose result lies between two numbers of 8 bits or in their middle."""
    x = torch.tensor([1.0, 1.0 + 2.0**-7, 1.0, 1.0, -1.0, float("inf"), float("nan"), 3e38]).bfloat16()
    branch = torch.tensor([2.0**-8, 2.0**-8, 3.0 * 2.0**-10, 2.0**-8 + 2.0**-12, -(2.0**-8), 1.0, 1.0, 3e38]).bfloat16()
    total, _ = apply(AddNorm, x, branch, torch.ones(8), EPSILON, compiled_kernels)
    torch.testing.assert_close(total, x + branch, rtol=0, atol=0, equal_nan=True)


@dtypes
@pytest.mark.parametrize("width", [2, 12, 64])
@pytest.mark.parametrize(("normalised", "turned"), [(True, True), (False, True), (True, False), (False, False)])
def test_split_heads(compiled_kernels: Kernels, width: int, normalised: bool, turned: bool, dtype: torch.dtype) -> None:
    batch, time, heads = 2, 35, 3
    x = numbers(batch, time, heads * width + 9, dtype=dtype)[:, :, 4:-5]
    gain = numbers(width, dtype=torch.float32, seed=1)
    angles = torch.arange(time * width // 2).view(time, width // 2) / 7
    form = HeadTransform(
        gain if normalised else None, (angles.cos(), angles.sin()) if turned else None, 0.25 if turned else 1.0, EPSILON
    )
    wide, wide_gain = exact(x), exact(gain)
    y = wide.view(batch, time, heads, width)
    y = (F.rms_norm(y, (width,), wide_gain, EPSILON) if normalised else y).transpose(1, 2)
    if turned:
        first, second = y.chunk(2, dim=-1)
        cos, sin = angles.double().cos(), angles.double().sin()
        y = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1) * 0.25
    assert_near(form.split(compiled_kernels, x, heads), y)
    grad = numbers(batch, heads, time, width, dtype=dtype, seed=2)
    torch.autograd.backward(y, grad.double())
    whole = torch.full((batch, time, heads * width + 9), 7.0, dtype=dtype)
    grad_x = whole[:, :, 4:-5]
    grad_gain = form.split_gradient(compiled_kernels, x if normalised else None, grad, grad_x)
    assert (whole[:, :, :4] == 7.0).all()
    assert (whole[:, :, -5:] == 7.0).all()
    assert wide.grad is not None
    assert_near(grad_x, wide.grad, factor=2)
    if normalised:
        assert grad_gain is not None
        assert wide_gain.grad is not None
        assert_near(grad_gain, wide_gain.grad, factor=4)
    else:
        assert grad_gain is None


def causal_attention(q_BHTD: torch.Tensor, k_BGTD: torch.Tensor, v_BGTD: torch.Tensor) -> torch.Tensor:
    """By torch, heads beside each other."""
    y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BGTD, v_BGTD, is_causal=True, scale=1.0, enable_gqa=True)
    return y_BHTD.transpose(1, 2).flatten(2)


# One position and more, around whole blocks of 32; odd, small and usual widths; shared keys and values.
@pytest.mark.parametrize(
    ("batch", "heads", "kv_heads", "time", "width"),
    [(1, 1, 1, 1, 6), (2, 4, 2, 40, 12), (1, 2, 2, 32, 32), (1, 3, 1, 97, 64), (2, 2, 2, 33, 5), (1, 1, 1, 160, 128)],
)
def test_attention(compiled_kernels: Kernels, batch: int, heads: int, kv_heads: int, time: int, width: int) -> None:
    q, k, v = (
        numbers(batch, count, time, width, dtype=torch.bfloat16, seed=seed)
        for seed, count in enumerate((heads, kv_heads, kv_heads))
    )
    grad = numbers(batch, time, heads * width, dtype=torch.bfloat16, seed=3)
    wide = [exact(each) for each in (q, k, v)]
    expected = causal_attention(*wide)
    expected.backward(grad.double())  # type: ignore[no-untyped-call]
    grads = gradients_of(NativeAttention, [grad], q, k, v, compiled_kernels)
    assert relative(apply(NativeAttention, q, k, v, compiled_kernels), expected) < 0.004
    for found, of in zip(grads, wide, strict=True):
        assert of.grad is not None
        assert relative(found, of.grad) < 0.01


def test_attention_bears_great_scores_and_keeps_what_is_not_finite(compiled_kernels: Kernels) -> None:
    q, k, v = (numbers(1, 2, 40, 16, dtype=torch.bfloat16, seed=seed) for seed in range(3))
    out = apply(NativeAttention, q * 1000, k, v, compiled_kernels)
    assert out.isfinite().all()
    v[0, 1, 7, 3] = float("nan")
    out = apply(NativeAttention, q, k, v, compiled_kernels)
    spoilt = out.view(40, 2, 16).isnan().any(dim=2)
    assert not spoilt[:, 0].any()
    assert spoilt[7:, 1].all()


def test_attention_sees_nothing_that_comes_later(compiled_kernels: Kernels) -> None:
    q, k, v = (numbers(1, 1, 70, 32, dtype=torch.bfloat16, seed=seed) for seed in range(3))
    before = apply(NativeAttention, q, k, v, compiled_kernels)
    k[:, :, 40:], v[:, :, 40:] = 7.0, -7.0
    after = apply(NativeAttention, q, k, v, compiled_kernels)
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.equal(before[:, 40:], after[:, 40:])


def test_threads_change_no_bit_of_attention(compiled_kernels: Kernels) -> None:
    q, k, v = (numbers(3, 2, 50, 16, dtype=torch.bfloat16, seed=seed) for seed in range(3))
    alone = compiled_kernels.alone()

    def learn(kernels: Kernels) -> list[torch.Tensor]:
        out = apply(NativeAttention, q, k, v, kernels)
        return [out, *gradients_of(NativeAttention, [out], q, k, v, kernels)]

    assert all(map(torch.equal, learn(alone), learn(compiled_kernels)))


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Distance over length; zero where there is no length."""
    length = float(expected.detach().norm())
    return float((found.double() - expected.detach()).norm()) / length if length > 1e-9 else 0.0
