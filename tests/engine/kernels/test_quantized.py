"""Layers whose products are made of 8-bit integers compute what others do, but for rounding."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nima_cli.config.schema import TrainingConfig
from nima_cli.engine.kernels.kernels import Kernels, load_kernels
from nima_cli.engine.kernels.quantized import Int8WeightCache, QuantizedLinear, QuantizedMLP
from nima_cli.engine.training.optim import Optimizer
from tests.engine.kernels.whole import numbers_of
from tests.engine.small_models import random_model, small_shape

ONE_PERCENT = 0.02  # two factors, each rounded to a seventh of a percent of its greatest


def problem(dtype: torch.dtype, positions: int = 40) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Input, two weights, and the gradient of the result; some positions matter far more than others."""
    generator = torch.Generator().manual_seed(positions)
    x_BTC = torch.randn(2, positions, 48, generator=generator).to(dtype).requires_grad_()
    weights = [torch.randn(size, 48, generator=generator).requires_grad_() for size in (24, 70)]
    grad_BTP = torch.randn(2, positions, 94, generator=generator)
    return x_BTC, weights, (grad_BTP * torch.logspace(0, -2, positions)[:, None]).to(dtype)


def project(x_BTC: torch.Tensor, kernels: Kernels, weights: list[torch.Tensor]) -> torch.Tensor:
    y_BTP: torch.Tensor = QuantizedLinear.apply(x_BTC, kernels, Int8WeightCache(kernels).of(weights), *weights)  # type: ignore[no-untyped-call]
    return y_BTP


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_products_and_gradients(int8_kernels: Kernels, dtype: torch.dtype) -> None:
    x_BTC, weights, grad_BTP = problem(dtype)
    y_BTP = project(x_BTC, int8_kernels, weights)
    expected_BTP = F.linear(x_BTC.double(), torch.cat(weights).double())
    assert y_BTP.dtype is dtype
    assert 0.0 < distance(y_BTP, expected_BTP) < ONE_PERCENT
    found = torch.autograd.grad(y_BTP, [x_BTC, *weights], grad_BTP)
    wanted = torch.autograd.grad(expected_BTP, [x_BTC, *weights], grad_BTP.double())
    assert [each.dtype for each in found] == [dtype, torch.float32, torch.float32]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert distance(one, other) < ONE_PERCENT


@torch.no_grad()
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_weights_are_rounded_anew_after_an_update(int8_kernels: Kernels, kind: str) -> None:
    """And only then. Torch's fused AdamW does not count what it changes, so that this has to be told."""
    model = random_model(small_shape())
    values = {"optimizer": kind, "weight_decay": 0.1, "embedding_weight_decay": 0.0}
    optimizer = Optimizer(model, TrainingConfig.model_validate(values))
    weights = [parameter for name, parameter in model.named_parameters() if name.endswith("q_proj.weight")][:1]
    rounded = Int8WeightCache(int8_kernels)
    first = rounded.of(weights)
    assert rounded.of(weights) is first
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0.1, torch.zeros(()))
    weights_CP, weights_PC = (numbers_of(int8_kernels, factor, on_the_left=False) for factor in rounded.of(weights))
    for dim, found in ((1, weights_CP.T), (0, weights_PC)):
        scales = weights[0].abs().amax(dim, keepdim=True) / 127
        assert ((found - weights[0]).abs() <= 0.501 * scales).all()
    again = rounded.of(weights)
    weights[0].data = weights[0] + 1.0  # as an average takes the place of the weights
    assert rounded.of(weights) is not again


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_mlp_and_its_gradients(int8_kernels: Kernels, dtype: torch.dtype) -> None:
    x_BTC, weights, _ = problem(dtype)
    gate, up = (weights[1][part].detach().clone().requires_grad_() for part in (slice(0, 35), slice(35, 70)))
    down = torch.randn(48, 35, generator=torch.Generator().manual_seed(5)).requires_grad_()
    grad_BTC = torch.randn(x_BTC.shape, generator=torch.Generator().manual_seed(6)).to(dtype)
    cache = Int8WeightCache(int8_kernels)
    y_BTC = QuantizedMLP.apply(x_BTC, int8_kernels, cache.of([gate, up]), cache.of([down]), gate, up, down)  # type: ignore[no-untyped-call]
    wide = [each.detach().double().requires_grad_() for each in (x_BTC, gate, up, down)]
    expected = F.linear(F.silu(F.linear(wide[0], wide[1])) * F.linear(wide[0], wide[2]), wide[3])
    found = [y_BTC, *torch.autograd.grad(y_BTC, [x_BTC, gate, up, down], grad_BTC)]
    wanted = [expected, *torch.autograd.grad(expected, wide, grad_BTC.double())]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert 0.0 < distance(one, other) < 2 * ONE_PERCENT


@pytest.mark.parametrize("where", ["input", "weight", "gradient"])
def test_what_is_not_finite_is_not_rounded_away(int8_kernels: Kernels, where: str) -> None:
    x_BTC, weights, grad_BTP = problem(torch.bfloat16)
    spoilt = {"input": x_BTC, "weight": weights[1], "gradient": grad_BTP}[where]
    spoilt.detach().view(-1)[7] = float("inf" if where == "weight" else "nan")
    y_BTP = project(x_BTC, int8_kernels, weights)
    found = [y_BTP, *torch.autograd.grad(y_BTP, [x_BTC, *weights], grad_BTP)]
    assert not all(tensor.isfinite().all() for tensor in found)
    assert y_BTP.isfinite().all() == (where == "gradient")


def test_kernels_know_whether_they_multiply_integers(compiled: Path, int8_kernels: Kernels) -> None:
    assert int8_kernels.int8
    plain = load_kernels(compiled)
    assert plain is not None
    assert not plain.int8
