"""What happens when numbers leave the finite: refused steps, the end of the run, and checkpoints that stay finite."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.hooks import RemovableHandle

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.device import Device
from nima_cli.engine.training.trainer import Trainer
from nima_cli.errors import DivergedError
from nima_cli.events import EvalDone, Event, Note, RolledBack, RunEnded, Saved, StepDone
from tests.engine.training.runs import (
    losses,
    make_config,
    make_trainer,
    same_tensors,
    steps,
    stop_after,
    weights,
)


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

    with pytest.raises(DivergedError) as failure:
        run()
    assert re.fullmatch(
        r"step 9: the loss or gradient was not finite 3 times in a row at learning rate 0\.0\d+, on rows 48 to 71 of "
        r"the train split, with its samples (\d+, ){4}\d+ and \d+ more; the last good checkpoint is of step 8",
        failure.value.message,
    )
    told = [event.message for event in seen if isinstance(event, Note)]
    assert told == [f"step {n}: the loss or gradient was not finite: step skipped, {n - 6} so far" for n in (7, 8, 9)]
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
    assert [event.step for event in steps(events) if not math.isfinite(event.loss)] == [4, 7], "no mean over no step"
    assert [event.skipped_steps for event in steps(events)] == [0, 0, 0, 1, 1, 1, 2, 2]
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


def fragile(trainer: Trainer, above: float) -> Trainer:
    """A trainer whose gradient is not a number in step 7 and later while the learning rate is above `above`."""

    def backward(gradient: torch.Tensor) -> torch.Tensor:
        lost = trainer.step >= 6 and trainer.state.next_learning_rate > above
        return gradient * (math.nan if lost else 1.0)

    def watch(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(backward)  # type: ignore[no-untyped-call]

    # Every model that is made, for one that goes back makes another.
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: watch(module, inputs, output) if module is trainer.model.norm else None
    )
    run = trainer.run

    def run_and_let_go() -> Any:
        try:
            yield from run()
        finally:
            handle.remove()

    trainer.run = run_and_let_go  # type: ignore[method-assign]
    return trainer


ROLLING = make_config(
    lr_scheduler="constant", warmup_steps=0, max_rollbacks=2, max_steps=16, eval_steps=4, save_steps=4
)


def test_a_diverged_run_goes_back_with_half_the_learning_rate(tiny_dataset: Path, tmp_path: Path) -> None:
    events = list(fragile(make_trainer(ROLLING, tiny_dataset, tmp_path), 0.003).run())
    back = [index for index, event in enumerate(events) if isinstance(event, RolledBack)]
    # Saved after step 8 with two refusals, which after going back count no more.
    assert [events[index] for index in back] == [RolledBack(8), RolledBack(8)]
    warnings = [event.message for event in events if isinstance(event, Note) and "rollback" in event.message]
    assert warnings == [
        f"step {step}: the loss or gradient was not finite 3 times in a row: back to step 8, with the learning rate "
        f"times {factor} (rollback {number} of 2)"
        for number, step, factor in ((1, 9, "0.5"), (2, 11, "0.25"))
    ]
    after = list(steps(events[back[-1] :]))
    assert [event.step for event in after] == list(range(9, 17))
    assert {event.learning_rate for event in after} == {0.0025}
    assert all(math.isfinite(event.loss) for event in after)
    assert isinstance(events[-1], RunEnded)
    assert events[-1].reason == "completed"
    assert checkpoints.load(tmp_path / LAST).header["rollbacks"] == 2


def test_going_back_is_exactly_resumable(tiny_dataset: Path, tmp_path: Path) -> None:
    whole = list(fragile(make_trainer(ROLLING, tiny_dataset, tmp_path / "whole"), 0.003).run())
    trainers: list[Trainer] = []
    first = make_trainer(ROLLING, tiny_dataset, tmp_path / "parts", should_stop=stop_after(trainers, 11))
    trainers.append(first)
    list(fragile(first, 0.003).run())
    resumed = list(fragile(make_trainer(ROLLING, tiny_dataset, tmp_path / "parts", resume=LAST), 0.003).run())
    assert losses(resumed) == {step: loss for step, loss in losses(whole).items() if step > 11}
    assert same_tensors(weights(tmp_path / "parts" / LAST), weights(tmp_path / "whole" / LAST))


def test_without_a_checkpoint_it_goes_back_to_the_start(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(
        lr_scheduler="constant", warmup_steps=0, max_rollbacks=1, max_steps=12, eval_steps=12, save_steps=12
    )
    events = list(fragile(make_trainer(config, tiny_dataset, tmp_path), 0.008).run())
    assert [event.step for event in events if isinstance(event, RolledBack)] == [0]
    assert [event.step for event in steps(events)] == [*range(1, 10), *range(1, 13)]
    assert isinstance(events[-1], RunEnded)
    assert events[-1].reason == "completed"


def test_it_goes_back_so_many_times_and_no_more(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = fragile(make_trainer(ROLLING, tiny_dataset, tmp_path), 0.0)
    seen: list[Event] = []
    with pytest.raises(DivergedError, match=r"^step 11: .* at learning rate 0\.0025, "):
        seen.extend(iter(trainer.run()))
    assert all_finite(tmp_path / LAST)


def test_refusals_are_counted_over_a_resume(tiny_dataset: Path, tmp_path: Path) -> None:
    config = make_config(lr_scheduler="constant", warmup_steps=0)
    trainers: list[Trainer] = []
    trainers.append(make_trainer(config, tiny_dataset, tmp_path, should_stop=stop_after(trainers, 8)))
    list(fragile(trainers[0], 0.0).run())
    assert checkpoints.load(tmp_path / LAST).header["refused"] == {"in_a_row": 2, "steps": 2}
    with pytest.raises(DivergedError, match=r"^step 9: "):
        list(fragile(make_trainer(config, tiny_dataset, tmp_path, resume=LAST), 0.0).run())


HALF = Device(torch.device("cpu"), torch.float16)  # no GPU, but the same arithmetic and the same loss scale


def test_float16_finds_its_scale_and_keeps_it_over_a_resume(tiny_dataset: Path, tmp_path: Path) -> None:
    trainers: list[Trainer] = []
    stop = stop_after(trainers, 6)
    config = make_config(max_steps=12)
    trainers.append(make_trainer(config, tiny_dataset, tmp_path, device=HALF, should_stop=stop))
    scale = trainers[0].state.train_step.loss_scale
    assert scale is not None
    scale.value = 2.0**40  # overflows at first
    told = [event for event in trainers[0].run() if isinstance(event, Note)]
    assert [(note.level, note.message.split("; ")[1]) for note in told[:2]] == [
        ("info", f"loss scale {2.0**39:g}"),
        ("info", f"loss scale {2.0**38:g}"),
    ]
    saved = checkpoints.load(tmp_path / LAST).header["loss_scale"]
    assert saved == {"value": scale.value, "calm_steps": scale.calm_steps, "growth_interval": 2000}
    resumed = make_trainer(make_config(max_steps=12), tiny_dataset, tmp_path, resume=LAST, device=HALF)
    assert resumed.state.train_step.loss_scale == scale


def test_float16_ends_when_even_the_smallest_scale_overflows(tiny_dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_config(max_steps=50), tiny_dataset, tmp_path, device=HALF)
    poison(trainer.model)
    with pytest.raises(DivergedError, match=r"^step 17: the loss or gradient was not finite in float16 at any loss"):
        list(trainer.run())
