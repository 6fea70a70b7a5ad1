"""A model that trains with compiled kernels learns what it learns without them."""

from typing import Any

import pytest
import torch

from nima_cli.engine.kernels.convert import convert
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.rope_scaling import RopeScaling
from tests.engine.small_models import random_model, small_shape

SHAPES: list[dict[str, Any]] = [
    {},
    {"n_kv_heads": 2},
    {"qk_norm": False, "n_kv_heads": 1},
    {"tie_embeddings": False, "d_ff": 77},
    {"d_model": 136, "n_heads": 2, "n_kv_heads": 2, "d_ff": 200},
    {"qk_norm": False, "n_heads": 3, "n_kv_heads": 1, "d_model": 36, "norm_epsilon": 1e-2},
    {"qk_norm": False, "qkv_bias": True, "n_kv_heads": 2},
    {"head_dim": 24, "n_kv_heads": 2, "qkv_bias": True},
    {"qk_norm": False, "rope_scaling": RopeScaling("yarn", 4.0, 8, 1.0, 4.0, attention_factor=1.14)},
]


def build(shape: dict[str, Any], kernels: Kernels | None, dtype: torch.dtype, dropout: float) -> GPT:
    model = GPT(small_shape(**shape), dropout=dropout, compute_dtype=dtype)
    model.load_state_dict(random_model(small_shape(**shape)).state_dict())
    model.drop.seed(3, range(4), torch.device("cpu"))
    convert(model, kernels)
    return model.train()


def learn(model: GPT) -> dict[str, torch.Tensor]:
    """The states of the last layer, and the gradient of each parameter."""
    ids_BT = torch.arange(4 * 20).view(4, 20) * 7 % 97
    h_BTC = model.hidden(ids_BT)
    weight_BTC = torch.linspace(-1, 1, h_BTC.numel()).view_as(h_BTC)
    (h_BTC.float() * weight_BTC).sum().backward()  # type: ignore[no-untyped-call]
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    found["hidden"] = h_BTC.detach()
    return {name: tensor.double() for name, tensor in found.items() if tensor is not None}


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_states_and_gradients_are_those_of_torch(
    compiled_kernels: Kernels, shape: dict[str, Any], dropout: float
) -> None:
    eager, ours = (learn(build(shape, kernels, torch.float32, dropout)) for kernels in (None, compiled_kernels))
    assert distance(ours, eager) < 1e-5
    assert not torch.equal(ours["hidden"], eager["hidden"])  # else the kernels were not used


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_bfloat16_they_are_as_near_to_float32_as_torchs(compiled_kernels: Kernels, shape: dict[str, Any]) -> None:
    exact = learn(build(shape, None, torch.float32, 0.0))
    eager, ours = (learn(build(shape, kernels, torch.bfloat16, 0.0)) for kernels in (None, compiled_kernels))
    assert distance(ours, exact) < 1.2 * distance(eager, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_with_int8_they_are_near(int8_kernels: Kernels, shape: dict[str, Any], dtype: torch.dtype) -> None:
    """A rounding error of one percent in each product, from the last layer's down to the first's gradient."""
    exact = learn(build(shape, None, torch.float32, 0.0))
    ours = learn(build(shape, int8_kernels, dtype, 0.0))
    assert 0.005 < distance(ours, exact) < 0.25


def test_only_training_uses_them(compiled_kernels: Kernels) -> None:
    """What a model is measured by and what it writes do not depend on a compiler."""
    eager, ours = (build({}, kernels, torch.float32, 0.0) for kernels in (None, compiled_kernels))
    ids_BT = torch.arange(20).view(1, 20)
    with torch.no_grad():
        assert torch.equal(eager(ids_BT), ours(ids_BT))


def test_a_type_that_they_do_not_know_is_torchs(compiled_kernels: Kernels) -> None:
    eager, ours = (learn(build({}, kernels, torch.float64, 0.0)) for kernels in (None, compiled_kernels))
    assert distance(ours, eager) == 0.0
