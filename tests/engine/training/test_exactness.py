"""A run that is stopped after any of its steps, any number of times, is the run that nobody stopped, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.events import Event, RunEnded, StepDone
from tests.engine.training.runs import (
    evaluations,
    losses,
    make_config,
    make_trainer,
    run_until,
    same_tensors,
    steps,
    weights,
)

STEPS = 26
# 168 rows an epoch, 8 a step in two micro-batches: the first epoch ends with step 21. Evaluated every 4, saved every 6.
CONFIG = make_config(max_steps=STEPS, eval_steps=4, save_steps=6, log_steps=3, ema_decay=0.9)


def part(dataset: PreparedDataset, run_dir: Path, until: int, *, resume: bool) -> list[Event]:
    """The events of a run that is asked to stop after `until`."""
    return run_until(CONFIG, dataset, run_dir, until, resume=LAST if resume else None)


def told(events: list[Event]) -> tuple[object, ...]:
    """What steps and evaluations said, exactly and without times."""
    evals = [(e.step, e.split, e.loss.hex(), e.train_loss.hex(), e.best) for e in evaluations(events)]
    return losses(events), evals


def facts(path: Path) -> dict[str, object]:
    """Every field of a checkpoint's header but the clocks."""
    header = checkpoints.load(path).header
    for clock in ("train_seconds", "elapsed_seconds"):
        del header[clock]
    del header["open_window"]["seconds"]
    return header


@pytest.fixture(scope="module")
def dataset(tiny_dataset: Path) -> PreparedDataset:
    return open_dataset(tiny_dataset)


@pytest.fixture(scope="module")
def whole(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """The run that nobody disturbs."""
    torch.set_num_threads(1)
    run_dir = tmp_path_factory.mktemp("whole")
    return run_dir, part(dataset, run_dir, STEPS + 1, resume=False)


def check(whole: tuple[Path, list[Event]], events: list[Event], run_dir: Path) -> None:
    assert told(events) == told(whole[1])
    for name in (LAST, BEST):
        assert same_tensors(weights(run_dir / name), weights(whole[0] / name))
        assert facts(run_dir / name) == facts(whole[0] / name)


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_stopped_after_any_step(
    stop: int, whole: tuple[Path, list[Event]], dataset: PreparedDataset, tmp_path: Path
) -> None:
    events = part(dataset, tmp_path, stop, resume=False) + part(dataset, tmp_path, STEPS + 1, resume=True)
    check(whole, events, tmp_path)


def test_stopped_after_every_step(whole: tuple[Path, list[Event]], dataset: PreparedDataset, tmp_path: Path) -> None:
    events = part(dataset, tmp_path, 1, resume=False)
    for step in range(2, STEPS + 2):
        events += part(dataset, tmp_path, step, resume=True)
    assert [event.step for event in events if isinstance(event, RunEnded)] == [*range(1, STEPS + 1), STEPS]
    check(whole, events, tmp_path)


def test_killed_where_nothing_was_saved_repeats_the_same_steps(
    whole: tuple[Path, list[Event]], dataset: PreparedDataset, tmp_path: Path
) -> None:
    events: list[Event] = []
    for event in make_trainer(CONFIG, dataset, tmp_path).run():
        events.append(event)
        if isinstance(event, StepDone) and event.step == 15:
            break  # the process is gone: nobody closes anything
    kept = [event for event in events if not isinstance(event, StepDone) or event.step <= 12]
    kept = [event for event in kept if getattr(event, "step", 0) <= 12]
    check(whole, kept + part(dataset, tmp_path, STEPS + 1, resume=True), tmp_path)


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"epochs": 0.5, "max_steps": None}, 11),  # 84 of 168 rows, 8 a step
        ({"epochs": 1.5, "max_steps": 7}, 7),
        ({"epochs": 0.25, "max_steps": 400}, 6),
    ],
)
def test_epochs_or_steps_whichever_ends_first(
    keys: dict[str, Any], wanted: int, dataset: PreparedDataset, tmp_path: Path
) -> None:
    config = make_config(early_stopping={"enabled": False}, **keys)
    events = list(make_trainer(config, dataset, tmp_path).run())
    assert [event.step for event in steps(events)] == list(range(1, wanted + 1))
    assert checkpoints.load(tmp_path / LAST).header["epoch"] == pytest.approx(wanted * 8 / 168)


def test_layers_computed_twice_change_no_bit_and_a_run_may_change_its_mind(
    dataset: PreparedDataset, whole: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    """With dropout, an average of the weights, and a stop between two saves."""
    on = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"recompute": "on"})})
    events = run_until(on, dataset, tmp_path, 9)
    events += run_until(CONFIG, dataset, tmp_path, STEPS + 1, resume=LAST)
    assert losses(events) == losses(whole[1])
    assert same_tensors(weights(tmp_path / LAST), weights(whole[0] / LAST))
