"""Layers that are computed twice learn the same, bit for bit, and keep less for the backward pass."""

import weakref
from typing import Any

import pytest
import torch

from nima_cli.engine.kernels.convert import convert, recompute_layers
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.lora import Lora, add_adapters
from tests.engine.small_models import random_model, small_shape

WAYS = ["torch", "compiled_kernels", "int8_kernels"]
SHAPES: list[dict[str, Any]] = [{}, {"n_kv_heads": 2, "qk_norm": False, "qkv_bias": True}]


class Kept:
    """A tensor that a graph keeps, for as long as it does."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def learn(model: GPT) -> tuple[dict[str, torch.Tensor], int]:
    """The states and the gradient of each parameter, and the bytes that were kept for the backward pass."""
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def note(tensor: torch.Tensor) -> Kept:
        found = Kept(tensor.detach())
        kept.add(found)
        return found

    model.train()
    for drop in model.drops:
        drop.seed(3, range(4), torch.device("cpu"))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept.tensor):
        h_BTC = model.hidden(torch.arange(4 * 20).view(4, 20) * 7 % 97)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    storages = {each.tensor.data_ptr(): each.tensor.nbytes for each in kept}
    held = sum(size for at, size in storages.items() if at not in weights)
    (h_BTC.float() * torch.linspace(-1, 1, h_BTC.numel()).view_as(h_BTC)).sum().backward()  # type: ignore[no-untyped-call]
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {**found, "hidden": h_BTC.detach()}, held


def build(shape: dict[str, Any], kernels: Kernels | None, dtype: torch.dtype, *, lora: bool = False) -> GPT:
    model = random_model(small_shape(n_layers=4, **shape), dropout=0.2, compute_dtype=dtype)
    if lora:
        add_adapters(model, Lora(2, 4.0, ("q_proj", "down_proj"), dropout=0.3), seed=1)
        for name, parameter in model.named_parameters():
            if name.endswith("lora_B"):
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    convert(model, kernels)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_no_bit_differs_and_less_is_kept(
    request: pytest.FixtureRequest, way: str, shape: dict[str, Any], dtype: torch.dtype, lora: bool
) -> None:
    kernels = None if way == "torch" else request.getfixturevalue(way)
    plain, twice = (build(shape, kernels, dtype, lora=lora) for _ in range(2))
    recompute_layers(twice)
    (expected, all_of_it), (found, inputs) = learn(plain), learn(twice)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert inputs < 0.6 * all_of_it


def test_each_pass_draws_new_masks() -> None:
    model = build({}, None, torch.float32)
    recompute_layers(model)
    first = learn(model)[0]["hidden"]
    model.drop.seed(4, range(4), torch.device("cpu"))
    assert not torch.equal(model.hidden(torch.arange(4 * 20).view(4, 20) * 7 % 97), first)


def test_evaluation_and_caches_do_not_see_it() -> None:
    plain, twice = (build({}, None, torch.float32).eval() for _ in range(2))
    recompute_layers(twice)
    ids_BT = torch.arange(20).view(1, 20)
    with torch.no_grad():
        assert torch.equal(twice(ids_BT), plain(ids_BT))
