"""What `nima train` shows: a live table on a terminal, plain lines elsewhere; knows nothing of how training works."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from nima_cli.events import EvalDone, Event, Note, Progress, RunEnded, RunStarted, SampleDrawn, StepDone, View
from nima_cli.ui import formatting
from nima_cli.ui.console import err, safe_text, say
from nima_cli.ui.train_live import LiveTrainView
from nima_cli.ui.train_state import (
    TrainState,
    data_line,
    ending,
    eval_facts,
    facts,
    first_figures,
    next_step,
    step_facts,
)

SECONDS_BETWEEN_LINES = 5.0
SAMPLE_CHARACTERS, SAMPLE_LINES = 240, 4


def train_view(*, quiet: bool, clock: Callable[[], float] = time.monotonic) -> View:
    """The view that suits stderr: live on a terminal, lines in a pipe; with `quiet`, warnings only.

    Args:
        clock: seconds; spaces out the step lines and the redraws.
    """
    if quiet:
        return QuietView()
    console = err()
    lines = LineTrainView(console, clock=clock)
    return LiveTrainView(console, after=lines, clock=clock) if console.is_terminal else lines


class QuietView:
    """Shows warnings and nothing else."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        if isinstance(event, Note) and event.level == "warning":
            say(event.message, event.level)

    def close(self) -> None:
        """Nothing is open."""


class LineTrainView:
    """One line per fact, never redrawn: for logs, pipes and NO_COLOR."""

    def __init__(self, console: Console, *, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._state = TrainState()
        self._next_line = self._next_sign = 0.0
        self._sampled = 0

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        now = self._clock()
        self._state.take(event, now)
        match event:
            case RunStarted():
                self._print(f"run {event.run_dir}: {', '.join(facts(event))}")
                self._print(f"data {data_line(event)}")
                if event.first_step > 1:
                    self._print(f"goes on at step {event.first_step}")
                self._next_line, self._next_sign = now, now + SECONDS_BETWEEN_LINES
            case Progress():
                self._show_waiting(now)
            case StepDone():
                self._show_step(event, now)
            case EvalDone():
                best = "  best so far" if event.best else ""
                self._print(f"eval {event.step}  {'  '.join(eval_facts(event))}{best}")
            case SampleDrawn():
                self._show_sample(event)
            case Note():
                say(event.message, event.level)
            case RunEnded():
                self._print(ending(event))
                if self._state.started is not None and (hint := next_step(event, self._state.started.run_dir)):
                    say(hint, "hint")

    def close(self) -> None:
        """Nothing is open."""

    def _show_sample(self, sample: SampleDrawn) -> None:
        """The first sample of an evaluation, as much of it as a log can bear; all are in `samples.jsonl`."""
        if sample.step == self._sampled:
            return
        self._sampled = sample.step
        self._print(f"sample {sample.step}  {sample.prompt}")
        text = sample.text[:SAMPLE_CHARACTERS]
        lines = text.split("\n")
        for line in lines[:SAMPLE_LINES]:
            self._print(f"  | {line}")
        if len(lines) > SAMPLE_LINES or text != sample.text:
            self._print("  | …")

    def _show_waiting(self, now: float) -> None:
        """A sign of life while there are no figures yet."""
        if self._state.last is not None or self._state.started is None or now < self._next_sign:
            return
        at = first_figures(self._state.started)
        if self._state.step < at:
            self._next_sign = now + SECONDS_BETWEEN_LINES
            self._print(f"{self._place()}  first figures at step {at}")

    def _show_step(self, step: StepDone, now: float) -> None:
        if now < self._next_line and step.step < self._state.total_steps:
            return
        self._next_line = now + SECONDS_BETWEEN_LINES
        times = [
            f"elapsed {formatting.duration(step.elapsed_seconds)}",
            f"eta {formatting.duration(self._state.eta())}",
        ]
        self._print("  ".join([f"{self._place()}  epoch {step.epoch:.2f}", *step_facts(step), *times]))

    def _place(self) -> str:
        return f"step {self._state.step}/{self._state.total_steps}"

    def _print(self, line: str) -> None:
        self._console.print(Text(safe_text(line)), soft_wrap=True)
