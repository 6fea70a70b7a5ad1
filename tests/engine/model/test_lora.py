"""Adapters: what they change, what they leave, and what merging them gives."""

import pytest
import torch

from nima_cli.config.schema import LoraConfig
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.lora import Lora, LoraLinear, adapters, add_adapters, lora_of, merged
from tests.engine.small_models import random_model, small_shape

IDS = torch.arange(20).view(2, 10)
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapted(lora: Lora, *, seed: int = 0, moved: bool = True) -> GPT:
    """A small model with adapters; `moved` as by training."""
    model = random_model(small_shape(n_kv_heads=2, qkv_bias=True))
    add_adapters(model, lora, seed=seed)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in adapters(model).items():
            if moved and name.endswith("lora_B"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    return model


def test_no_adapters_unless_they_are_wanted() -> None:
    assert lora_of(LoraConfig()) is None
    assert lora_of(LoraConfig(enabled=True, rank=4, alpha=2.0, targets=["v_proj"])) == Lora(4, 2.0, ("v_proj",))


def test_training_starts_from_the_model_as_it_is() -> None:
    plain = random_model(small_shape(n_kv_heads=2, qkv_bias=True))
    assert torch.equal(adapted(Lora(4, 8.0, ALL), moved=False)(IDS), plain(IDS))


def test_the_seed_fixes_the_start() -> None:
    first, again, other = (adapters(adapted(Lora(4, 8.0, ALL), seed=seed, moved=False)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("targets", [ALL, ("q_proj", "v_proj")])
def test_names_and_sizes_are_those_of_the_shape(targets: tuple[str, ...]) -> None:
    lora, model = Lora(3, 6.0, targets), adapted(Lora(3, 6.0, targets))
    assert {name: tuple(tensor.shape) for name, tensor in adapters(model).items()} == lora.tensors(model.shape)
    assert sum(isinstance(module, LoraLinear) for module in model.modules()) == 2 * len(targets)
    assert set(model.state_dict()) == {*model.shape.tensors(), *lora.tensors(model.shape)}


def test_only_adapters_learn() -> None:
    model = adapted(Lora(4, 8.0, ("q_proj", "down_proj")))
    model(IDS).sum().backward()
    learns = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learns == set(adapters(model))


def test_the_product_is_never_made() -> None:
    """Gradients of the factors equal those through the whole matrix."""
    lora, model = Lora(4, 8.0, ("up_proj",)), adapted(Lora(4, 8.0, ("up_proj",)))
    model(IDS).square().sum().backward()
    layer = model.get_submodule("layers.1.mlp.up_proj")
    assert isinstance(layer, LoraLinear)
    whole = random_model(small_shape(n_kv_heads=2, qkv_bias=True))
    whole.load_state_dict(merged({n: t for n, t in model.state_dict().items() if n in model.shape.tensors()},
                                 adapters(model), lora))  # fmt: skip
    whole(IDS).square().sum().backward()
    grad_OI = whole.get_parameter("layers.1.mlp.up_proj.weight").grad
    assert grad_OI is not None
    assert layer.lora_A.grad is not None
    assert layer.lora_B.grad is not None
    torch.testing.assert_close(layer.lora_A.grad, lora.scale * layer.lora_B.T @ grad_OI, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(layer.lora_B.grad, lora.scale * grad_OI @ layer.lora_A.T, rtol=1e-4, atol=1e-3)


def test_merged_weights_compute_the_same() -> None:
    lora, model = Lora(4, 8.0, ALL), adapted(Lora(4, 8.0, ALL))
    found, before = adapters(model), {n: t.clone() for n, t in model.state_dict().items() if n in model.shape.tensors()}
    whole = random_model(small_shape(n_kv_heads=2, qkv_bias=True), seed=9)
    whole.load_state_dict(merged(before, found, lora))
    torch.testing.assert_close(whole(IDS), model(IDS), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole(IDS), random_model(small_shape(n_kv_heads=2, qkv_bias=True))(IDS), atol=1e-2)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before), "merging changes nothing"


def test_dropout_is_that_of_the_sequences() -> None:
    model = adapted(Lora(4, 8.0, ALL, dropout=0.5)).train()
    assert model.lora_drop is not None
    found = []
    for rows in ((0, 1), (0, 1), (7, 8)):
        model.lora_drop.seed(3, rows, torch.device("cpu"))
        found.append(model(IDS))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
