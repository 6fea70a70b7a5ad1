"""The learning rate: its shapes, its ends, and that the optimizer really uses it."""

import math
from pathlib import Path

import pytest
import torch

from nima_cli.engine.training.optim import EMBEDDING_LR_FACTOR, AdamW, Muon
from nima_cli.engine.training.schedule import WSD_COOLDOWN, Schedule
from tests.engine.training.runs import make_config, make_trainer, steps

KINDS = ("cosine", "wsd", "linear", "constant")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 7), (1, 2), (3, 10), (10, 100), (99, 100)])
def test_rates_stay_between_minimum_and_peak(kind: str, warmup: int, total: int) -> None:
    schedule = Schedule(kind, 0.5, 0.25, warmup, total)
    rates = [schedule(step) for step in range(1, total + 1)]
    assert all(0 < rate <= 0.5 for rate in rates)
    assert min(rates[warmup:]) >= 0.25
    assert rates[warmup] == 0.5
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_warm_up_rises_evenly_and_never_wastes_a_step() -> None:
    schedule = Schedule("cosine", 0.5, 0.0, 4, 20)
    assert [schedule(step) for step in range(1, 6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert schedule(20) > 0.0


def test_shapes_after_the_warm_up() -> None:
    # 10 steps after a warm-up of 2: step s has progress (s - 3) / 10.
    cosine = Schedule("cosine", 1.0, 0.2, 2, 12)
    assert cosine(8) == pytest.approx(0.6)
    assert cosine(12) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 0.9)))
    linear = Schedule("linear", 1.0, 0.0, 2, 12)
    assert [linear(step) for step in (3, 8, 12)] == pytest.approx([1.0, 0.5, 0.1])
    wsd = Schedule("wsd", 1.0, 0.0, 2, 12)
    assert [wsd(step) for step in (3, 7, 11, 12)] == pytest.approx([1.0, 1.0, 0.2 / WSD_COOLDOWN, 0.1 / WSD_COOLDOWN])
    constant = Schedule("constant", 1.0, 0.0, 2, 12)
    assert {constant(step) for step in range(3, 13)} == {1.0}


@pytest.mark.parametrize(("kind", "held"), [("cosine", 2), ("linear", 2), ("constant", 2), ("wsd", 7)])
def test_the_rate_is_held_until_it_begins_to_fall(kind: str, held: int) -> None:
    schedule = Schedule(kind, 1.0, 0.1, 2, 12)
    assert [step for step in range(1, 13) if schedule.before_decay(step)] == list(range(1, held + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_past_the_end_it_stays_at_the_minimum(kind: str) -> None:
    end = 0.01 if kind == "constant" else 0.001
    assert Schedule(kind, 0.01, 0.001, 2, 10)(11) == pytest.approx(end)
    assert Schedule(kind, 0.01, 0.001, 2, 10)(1000) == pytest.approx(end)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_optimizer_uses_the_scheduled_rate_at_every_step(
    optimizer: str, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(
        optimizer=optimizer, lr_scheduler="wsd", warmup_steps=4, max_steps=12, min_lr=0.001, eval_steps=100
    )
    trainer = make_trainer(config, tiny_dataset, tmp_path)
    muon = trainer.state.optimizer.muon
    assert (muon is not None) == (optimizer == "muon")
    handed: dict[str, list[float]] = {"muon": [], "adamw": []}

    def watch(stepper: Muon | AdamW, name: str) -> None:
        step = stepper.step

        def spy(rate: float, skipped: torch.Tensor) -> None:
            handed[name].append(rate)
            step(rate, skipped)

        monkeypatch.setattr(stepper, "step", spy)

    watch(trainer.state.optimizer.adamw, "adamw")
    if muon is not None:
        watch(muon, "muon")
    factors = [factor for _, factor, _ in trainer.state.optimizer.adamw.groups]
    assert factors == ([EMBEDDING_LR_FACTOR] if muon else [1.0, 1.0]) + [1.0]
    for event in steps(trainer.run()):  # one by one: the run stands still meanwhile
        wanted = trainer.plan.schedule(event.step)
        assert event.learning_rate == wanted
        assert [rates[-1] for rates in handed.values() if rates] == [wanted] * (2 if muon else 1)
    assert trainer.step == 12
    assert [len(rates) for rates in handed.values()] == [12 if muon else 0, 12]


def test_the_size_of_an_update_follows_the_schedule(tiny_dataset: Path, tmp_path: Path) -> None:
    """Muon's update has a size of its own, so a matrix moves by a known multiple of the rate: no spy needed."""
    config = make_config(
        warmup_steps=4, max_steps=8, weight_decay=0.0, eval_steps=100, lr_scheduler="linear", model={"dropout": 0.0}
    )
    trainer = make_trainer(config, tiny_dataset, tmp_path)
    matrix = dict(trainer.model.named_parameters())["layers.0.mlp.up_proj.weight"]
    before, moved = matrix.detach().clone(), {}
    for event in steps(trainer.run()):
        moved[event.step] = (matrix.detach() - before).norm().item() / trainer.plan.schedule(event.step)
        before = matrix.detach().clone()
    # The output projections start at zero, so this matrix gets its first gradient at step 2.
    sizes = [moved[step] for step in range(2, 9)]
    full = 0.2 * math.sqrt(max(matrix.shape)) * math.sqrt(min(matrix.shape))
    assert all(0.6 * full < size < 1.3 * full for size in sizes)
