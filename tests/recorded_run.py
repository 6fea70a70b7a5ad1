"""A training run as events, for tests of views and loggers; each event is made here and nowhere else."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from nima_cli.events import EvalDone, Event, Note, RunEnded, RunStarted, SampleDrawn, Saved, StepDone

CONFIG = {"model": {"preset": "gpt-tiny"}, "training": {"learning_rate": 0.006, "log_steps": 10}}


def started(run_dir: Path = Path("experiments/docs"), *, first_step: int = 1, total_steps: int = 100) -> RunStarted:
    return RunStarted(
        run_dir=run_dir,
        data=Path("data/docs"),
        sources=(("k8s", 0.9), ("faq", 0.1)),
        version="0.1.0",
        config_json=json.dumps(CONFIG),
        parameters=4_570_624,
        train_tokens=12_345_678,
        tokens_per_step=4096,
        total_steps=total_steps,
        first_step=first_step,
        total_epochs=2.0,
        device="cpu",
        dtype="bfloat16",
        seed=42,
        compiled="compiled kernels",
    )


def step(number: int, loss: float = 3.0, *, elapsed: float | None = None) -> StepDone:
    return StepDone(
        step=number,
        epoch=number / 50,
        tokens=number * 4096,
        loss=loss,
        learning_rate=0.006 * (1 - number / 200),
        grad_norm=0.75,
        tokens_per_second=4096.0,
        train_seconds=number * 0.5,
        elapsed_seconds=number * 1.0 if elapsed is None else elapsed,
        skipped_steps=0,
    )


def evaluation(number: int, loss: float = 3.2, *, best: bool = True, split: str = "val") -> EvalDone:
    return EvalDone(
        step=number,
        split=split,
        loss=loss,
        bits_per_byte=loss / 2.5,
        accuracy=0.3127,
        tokens=131_072,
        train_seconds=number * 0.5,
        elapsed_seconds=number * 1.0,
        best=best,
        train_loss=loss - 0.1,
    )


def sample(number: int, text: str = " is a `Pod`.", prompt: str = "The module") -> SampleDrawn:
    return SampleDrawn(step=number, prompt=prompt, text=text)


def ended(number: int, reason: str = "completed", best_loss: float = 3.1) -> RunEnded:
    return RunEnded(reason=reason, step=number, best_loss=best_loss, best_step=number)


def whole_run(run_dir: Path = Path("experiments/docs"), *, steps: int = 100) -> Iterator[Event]:
    """Logged every 10 steps, evaluated every 20; the last evaluations are no longer the best."""
    yield started(run_dir, total_steps=steps)
    for number in range(10, steps + 1, 10):
        loss = 2 + 6 * math.exp(-number / 30)
        yield step(number, loss)
        if number % 20 == 0:
            yield evaluation(number, loss + 0.1, best=number <= 60)
            yield sample(number)
            yield Saved(step=number, path=run_dir / "checkpoint_best.pt", bytes=18_400_000, seconds=0.2)
        if number == 50:
            yield Note(level="warning", message="half of the run is over")
    yield ended(steps)
