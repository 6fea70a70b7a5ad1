"""Shows how the preparation of a dataset goes on: a bar a phase on a terminal, a line a phase elsewhere."""

import time
from collections.abc import Sequence

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nima_cli import events
from nima_cli.ui import formatting
from nima_cli.ui.console import err, safe_text, say
from nima_cli.ui.inputs_view import how_to_have_more, inputs_lines, inputs_table

_NAMES = {
    "read": "reading",
    "dedupe": "looking for duplicates",
    "tokenizer": "training the tokenizer",
    "encode": "encoding",
    "leaks": "looking for leaks",
}


def prepare_view(*, quiet: bool) -> events.View:
    """The view that fits stderr; with `quiet`, only warnings are shown."""
    if quiet:
        return _QuietView()
    return _BarView() if err().is_terminal else _LineView()


class _QuietView:
    """Warnings only."""

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Note) and event.level == "warning":
            say(event.message, event.level)

    def close(self) -> None:
        """Nothing is open."""


class _LineView:
    """One plain line when a phase ends."""

    def __init__(self) -> None:
        self._last: events.Progress | None = None
        self._started = time.monotonic()
        self._inputs: list[events.InputsCounted] = []

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            say(event.message, event.level)
        elif isinstance(event, events.InputsCounted):
            self._inputs.append(event)
        elif isinstance(event, events.Progress):
            if self._last is not None and self._last.phase != event.phase:
                self._end_phase()
            self._last = event

    def close(self) -> None:
        """Say how the last phase ended, and what was read and what was not."""
        self._end_phase()
        for line in inputs_lines(self._inputs):
            say(line)
        _say_how_to_have_more(self._inputs)

    def _end_phase(self) -> None:
        if self._last is not None:
            seconds = time.monotonic() - self._started
            say(f"{_NAMES[self._last.phase]}: {_amount(self._last)} in {seconds:.1f}s{_rate(self._last, seconds)}")
        self._last, self._started = None, time.monotonic()


class _BarView:
    """A bar for the phase under way; those that are done stay on the screen."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=err(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._inputs: list[events.InputsCounted] = []
        self._bars.start()

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            say(event.message, event.level)
        elif isinstance(event, events.InputsCounted):
            self._inputs.append(event)
        elif isinstance(event, events.Progress):
            if event.phase not in self._tasks:
                self._tasks[event.phase] = self._bars.add_task(_NAMES[event.phase], amount="", rate="")
            task = self._tasks[event.phase]
            seconds = self._bars.tasks[task].elapsed or 0.0
            rate = _rate(event, seconds).lstrip(", ")
            self._bars.update(task, completed=event.done, total=event.total or None, amount=_amount(event), rate=rate)

    def close(self) -> None:
        """Leave the bars as they are; below them stands what was read and what was not."""
        self._bars.stop()
        if self._inputs:
            err().print(inputs_table(self._inputs))
        _say_how_to_have_more(self._inputs)


def _say_how_to_have_more(inputs: Sequence[events.InputsCounted]) -> None:
    hint = how_to_have_more(inputs)
    if hint is not None:
        say(hint, "hint")


def _amount(event: events.Progress) -> str:
    if event.unit == "bytes":
        return formatting.size(event.done)
    return safe_text(f"{event.done:,} {event.unit}" if event.total else event.unit)


def _rate(event: events.Progress, seconds: float) -> str:
    """How fast it went, with a comma in front; nothing where that says nothing."""
    if event.total < 2 or seconds < 0.1:
        return ""
    rate = event.done / seconds
    return f", {formatting.size(int(rate))}/s" if event.unit == "bytes" else safe_text(f", {rate:,.0f} {event.unit}/s")
