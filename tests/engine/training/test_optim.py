"""Muon and AdamW: orthogonal updates, refused steps, and states that survive a checkpoint."""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from nima_cli.config.schema import TrainingConfig
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.optim import ADAM_BETAS, ADAM_EPSILON, EMBEDDING_LR_FACTOR, AdamW, Muon, Optimizer

SHAPE = ModelShape(
    vocab_size=50, n_layers=2, d_model=16, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=24, context_length=8,
    qk_norm=True, tie_embeddings=True, rope_theta=10000.0,
)  # fmt: skip
GO, REFUSE = torch.tensor(0.0), torch.tensor(1.0)


def settings(kind: str, decay: float, embedding_decay: float) -> TrainingConfig:
    values = {"optimizer": kind, "weight_decay": decay, "embedding_weight_decay": embedding_decay}
    return TrainingConfig.model_validate(values)


def make_model(seed: int = 0) -> GPT:
    model = GPT(SHAPE)
    model.init_weights(seed)
    return model


def set_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def snapshot(model: nn.Module, optimizer: Optimizer) -> dict[str, torch.Tensor]:
    found = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for name, state in optimizer.state().items():
        found |= {f"{name}/{key}": value.clone() for key, value in state.items()}
    return found


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_muon_in_batches_equals_muon_one_by_one() -> None:
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(size, generator=generator) for size in [(8, 12), (8, 12), (12, 8), (8, 12)]]
    together = [(f"p{index}", nn.Parameter(value.clone())) for index, value in enumerate(values)]
    alone = [(f"p{index}", nn.Parameter(value.clone())) for index, value in enumerate(values)]
    batched = Muon(together, decay=0.1, dtype=torch.float32)
    singles = [Muon([named], decay=0.1, dtype=torch.float32) for named in alone]
    for _ in range(3):
        for (_, first), (_, second) in zip(together, alone, strict=True):
            first.grad = torch.randn(first.shape, generator=generator)
            second.grad = first.grad.clone()
        batched.step(0.02, GO)
        for single in singles:
            single.step(0.02, GO)
    for (_, first), (_, second) in zip(together, alone, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    moved = [(first - value).norm() for (_, first), value in zip(together, values, strict=True)]
    assert min(moved) > 0.05


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize("first_step", [True, False])
def test_a_refused_step_changes_nothing(kind: str, first_step: bool) -> None:
    model = make_model()
    optimizer = Optimizer(model, settings(kind, 0.1, 0.2))
    if not first_step:
        set_gradients(model, 1)
        optimizer.step(0.01, GO)
    before = snapshot(model, optimizer)
    set_gradients(model, 2)
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.view(-1)[0] = float("nan")
    optimizer.step(0.01, REFUSE)
    after = snapshot(model, optimizer)
    fresh = {name: value for name, value in after.items() if name not in before}
    assert_equal(before, {name: value for name, value in after.items() if name in before})
    assert not any(value.any() for value in fresh.values())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_state_taken_back_goes_on_bit_for_bit(kind: str) -> None:
    model = make_model()
    optimizer = Optimizer(model, settings(kind, 0.1, 0.2))
    for seed in range(3):
        set_gradients(model, seed)
        optimizer.step(0.01, GO)
    other = make_model(seed=9)
    other.load_state_dict(model.state_dict())
    restored = Optimizer(other, settings(kind, 0.1, 0.2))
    restored.load_state(copy.deepcopy(optimizer.state()))
    for seed in range(3, 6):
        for side, stepper in ((model, optimizer), (other, restored)):
            set_gradients(side, seed)
            stepper.step(0.01, GO)
    assert_equal(snapshot(model, optimizer), snapshot(other, restored))
    names = {name for name, _ in model.named_parameters()}
    assert set(optimizer.state()) == names


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_weight_decay_shrinks_matrices_and_embeddings_each_by_its_own_and_no_gain(kind: str) -> None:
    moved: dict[float, Any] = {}
    for share in (0.0, 1.0):
        model = make_model()
        optimizer = Optimizer(model, settings(kind, 0.5 * share, 0.2 * share))
        set_gradients(model, 4)
        optimizer.step(0.1, GO)
        moved[share] = dict(model.named_parameters())
    factor = EMBEDDING_LR_FACTOR if kind == "muon" else 1.0
    for name, value in make_model().named_parameters():
        decay = 0.0 if value.ndim != 2 else 0.5 if name.startswith("layers.") else 0.2 * factor
        shrunk = moved[0.0][name] - moved[1.0][name]
        torch.testing.assert_close(shrunk, 0.1 * decay * value, rtol=1e-3, atol=1e-6)


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    model = make_model()
    optimizer = Optimizer(model, settings("muon", 0.1, 0.2))
    assert optimizer.muon is not None
    hidden = {name for name, value in model.named_parameters() if value.ndim == 2 and name.startswith("layers.")}
    assert set(optimizer.muon.state()) == hidden
    assert len(hidden) == 2 * 7
    set_gradients(model, 0)
    optimizer.step(0.01, GO)
    assert set(optimizer.adamw.state()) == {name for name, _ in model.named_parameters()} - hidden


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw_is_torchs_own_bit_for_bit(decay: float) -> None:
    ours, theirs = make_model(), make_model()
    named = list(ours.named_parameters())
    mine = AdamW([(named[:3], 3.0, decay), (named[3:], 1.0, 0.0)], fused=True)
    first, second = list(theirs.parameters())[:3], list(theirs.parameters())[3:]
    groups = [{"params": first, "weight_decay": decay}, {"params": second, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=ADAM_BETAS, eps=ADAM_EPSILON, fused=True)
    for step in range(5):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        mine.step(0.01 * (step + 1), GO)
        for group, factor in zip(reference.param_groups, (3.0, 1.0), strict=True):
            group["lr"] = 0.01 * (step + 1) * factor
        reference.step()
    assert_equal(dict(ours.named_parameters()), dict(theirs.named_parameters()))


def test_a_step_does_not_load_the_compiler() -> None:
    """Importing it takes seconds, at the start of each run."""
    program = (
        "import sys, torch; from torch import nn; from nima_cli.engine.training.optim import AdamW\n"
        "weight = nn.Parameter(torch.ones(3)); weight.grad = torch.ones(3)\n"
        "AdamW([([('weight', weight)], 1.0, 0.1)], fused=True).step(0.1, torch.tensor(0.0))\n"
        "assert weight[0] < 1.0 and 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
