"""The kernels for heads against the same functions in float64."""

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.heads import HeadTransform
from nima_cli.engine.kernels.kernels import Kernels
from tests.engine.kernels.near import EPSILON, assert_near, dtypes, exact, numbers


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
    assert_near(compiled_kernels.split_heads(x, heads, form), y)
    grad = numbers(batch, heads, time, width, dtype=dtype, seed=2)
    torch.autograd.backward(y, grad.double())
    whole = torch.full((batch, time, heads * width + 9), 7.0, dtype=dtype)
    grad_x = whole[:, :, 4:-5]
    grad_gain = compiled_kernels.split_heads_gradient(x if normalised else None, grad, form, grad_x)
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
    out, *kept = compiled_kernels.attention(q, k, v)
    grads = compiled_kernels.attention_gradient(q, k, v, (kept[0], kept[1]), grad)
    assert relative(out, expected) < 0.004
    for found, of in zip(grads, wide, strict=True):
        assert of.grad is not None
        assert relative(found, of.grad) < 0.01


def test_attention_bears_great_scores_and_keeps_what_is_not_finite(compiled_kernels: Kernels) -> None:
    q, k, v = (numbers(1, 2, 40, 16, dtype=torch.bfloat16, seed=seed) for seed in range(3))
    out, *_ = compiled_kernels.attention(q * 1000, k, v)
    assert out.isfinite().all()
    v[0, 1, 7, 3] = float("nan")
    out, *_ = compiled_kernels.attention(q, k, v)
    spoilt = out.view(40, 2, 16).isnan().any(dim=2)
    assert not spoilt[:, 0].any()
    assert spoilt[7:, 1].all()


def test_attention_sees_nothing_that_comes_later(compiled_kernels: Kernels) -> None:
    q, k, v = (numbers(1, 1, 70, 32, dtype=torch.bfloat16, seed=seed) for seed in range(3))
    before, *_ = compiled_kernels.attention(q, k, v)
    k[:, :, 40:], v[:, :, 40:] = 7.0, -7.0
    after, *_ = compiled_kernels.attention(q, k, v)
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.equal(before[:, 40:], after[:, 40:])


def test_threads_change_no_bit_of_attention(compiled_kernels: Kernels) -> None:
    q, k, v = (numbers(3, 2, 50, 16, dtype=torch.bfloat16, seed=seed) for seed in range(3))
    alone = compiled_kernels.alone()

    def learn(kernels: Kernels) -> list[torch.Tensor]:
        out, *kept = kernels.attention(q, k, v)
        return [out, *kernels.attention_gradient(q, k, v, (kept[0], kept[1]), out)]

    assert all(map(torch.equal, learn(alone), learn(compiled_kernels)))


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Distance over length; zero where there is no length."""
    length = float(expected.detach().norm())
    return float((found.double() - expected.detach()).norm()) / length if length > 1e-9 else 0.0
