"""What happens when numbers leave the finite: refused steps, the end of the run, and checkpoints that stay finite."""

import math
from pathlib import Path

import pytest
import torch
from torch.utils.hooks import RemovableHandle

from nima_cli.engine import checkpoint as checkpoints
from nima_cli.engine.checkpoint import BEST, LAST
from nima_cli.errors import DivergedError
from nima_cli.events import EvalDone, Event, RunEnded, Saved, StepDone
from tests.engine.training.runs import make_config, make_trainer, steps, weights


def poison(model: torch.nn.Module) -> RemovableHandle:
    """From now on every gradient of one parameter is not a number."""
    handle: RemovableHandle = next(model.parameters()).register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient * math.nan
    )
    return handle


def all_finite(path: Path) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in weights(path).values())


def test_three_refused_steps_in_a_row_end_the_run(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(save_steps=1), tiny_dataset, tmp_path)
    seen: list[Event] = []

    def run() -> None:
        for event in trainer.run():
            seen.append(event)
            if isinstance(event, Saved) and event.path.name == LAST and event.step == 6:
                poison(trainer.model)

    with pytest.raises(DivergedError, match=r"^step 9: .* not finite 3 times in a row at learning rate 0\.0\d+"):
        run()
    assert DivergedError.exit_code == 5
    assert isinstance(seen[-1], RunEnded)
    assert (seen[-1].reason, seen[-1].step) == ("diverged", 9)
    assert all_finite(tmp_path / LAST)
    assert all_finite(tmp_path / BEST)


def test_a_single_refused_step_is_survived(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(max_steps=8), tiny_dataset, tmp_path)
    poisoned: RemovableHandle | None = None
    events: list[Event] = []
    for event in trainer.run():
        events.append(event)
        if isinstance(event, StepDone):
            if poisoned is not None:
                poisoned.remove()
            poisoned = poison(trainer.model) if event.step in (3, 6) else None
    assert isinstance(events[-1], RunEnded)
    assert events[-1].reason == "completed"
    assert [event.step for event in steps(events) if not math.isfinite(event.grad_norm)] == [4, 7]
    assert all_finite(tmp_path / LAST)


def test_weights_that_are_not_finite_are_never_saved(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(save_steps=1, eval_steps=1), tiny_dataset, tmp_path)
    events: list[Event] = []

    def run() -> None:
        for event in trainer.run():
            events.append(event)
            if isinstance(event, EvalDone) and event.step == 4:
                with torch.no_grad():
                    next(trainer.model.parameters())[0] = math.nan

    with pytest.raises(DivergedError):
        run()
    assert isinstance(events[-1], RunEnded)
    assert events[-1].reason == "diverged"
    assert checkpoints.load(tmp_path / LAST).header["step"] == 3
    assert all_finite(tmp_path / LAST)
    assert all_finite(tmp_path / BEST)
