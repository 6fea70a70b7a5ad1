"""Progress of a command: the current phase or, for the preparation of a dataset, each phase and its inputs."""

import time

from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from nima_cli.events import Event, EventHandler, InputsCounted, Note, Progress
from nima_cli.ui import formatting
from nima_cli.ui.console import can_show, err, safe_text, say
from nima_cli.ui.inputs_view import how_to_have_more, inputs_lines, inputs_table

_NAMES = {
    "read": "reading",
    "dedupe": "looking for duplicates",
    "tokenizer": "training the tokenizer",
    "encode": "encoding",
    "leaks": "looking for leaks",
}


class QuietView(EventHandler):
    """Shows warnings and nothing else."""

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Note) and event.level == "warning":
            say(event.message, event.level)


class PhaseView:
    """Shows the current phase and how far it is, on a terminal only."""

    def __init__(self, *, quiet: bool) -> None:
        spinner = "dots" if can_show("⠋", err().file) else "line"
        self._status = err().status("", spinner=spinner) if err().is_terminal and not quiet else None
        if self._status is not None:
            self._status.start()

    def __call__(self, event: Event, /) -> None:
        if self._status is not None and isinstance(event, Progress):
            share = f" {event.done:,} of {event.total:,}" if event.unit else ""
            self._status.update(event.phase + share)

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()


class DownloadView:
    """Shows notes and, on a terminal, a bar of what has come."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        columns = (BarColumn(bar_width=30), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
        self._bars = Bars(TextColumn("{task.description}"), *columns, console=err(), transient=True)
        self._task: TaskID | None = None
        if err().is_terminal and not quiet:
            self._task = self._bars.add_task("")
            self._bars.start()

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Note) and not (self._quiet and event.level == "info"):
            say(event.message, event.level)
        elif isinstance(event, Progress) and self._task is not None:
            total = event.total or None
            self._bars.update(self._task, description=event.phase, completed=event.done, total=total)

    def close(self) -> None:
        if self._task is not None:  # else Rich would print an empty line
            self._bars.stop()


def prepare_view(*, quiet: bool) -> EventHandler:
    """The view of a preparation: bars on a terminal, lines elsewhere; with `quiet`, only warnings."""
    if quiet:
        return QuietView()
    return _BarView() if err().is_terminal else _LineView()


class _LineView:
    """A line at the end of each phase and, last, what was read and what was left out."""

    def __init__(self) -> None:
        self._last: Progress | None = None
        self._started = time.monotonic()
        self._inputs: list[InputsCounted] = []

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Note):
            say(event.message, event.level)
        elif isinstance(event, InputsCounted):
            self._inputs.append(event)
        elif isinstance(event, Progress):
            self._show(event)

    def close(self) -> None:
        self._show(None)
        self._show_inputs()
        if hint := how_to_have_more(self._inputs):
            say(hint, "hint")

    def _show(self, progress: Progress | None) -> None:
        """Show the state of a phase; None ends the last one."""
        last = self._last
        if last is not None and (progress is None or progress.phase != last.phase):
            seconds = time.monotonic() - self._started
            rate = _rate(last, seconds)
            say(f"{_NAMES[last.phase]}: {_amount(last)} in {seconds:.1f}s{rate and f', {rate}'}")
            self._started += seconds
        self._last = progress

    def _show_inputs(self) -> None:
        for line in inputs_lines(self._inputs):
            say(line)


class _BarView(_LineView):
    """A bar for each phase; the bars stay on the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._bars = Bars(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=err(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def _show(self, progress: Progress | None) -> None:
        if progress is None:
            self._bars.stop()
            return
        phase = progress.phase
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(_NAMES[phase], amount="", rate="")
        rate, total = _rate(progress, self._bars.tasks[self._tasks[phase]].elapsed or 0.0), progress.total or None
        self._bars.update(self._tasks[phase], completed=progress.done, total=total, amount=_amount(progress), rate=rate)

    def _show_inputs(self) -> None:
        if self._inputs:
            err().print(inputs_table(self._inputs))


def _amount(event: Progress) -> str:
    if event.unit == "bytes":
        return formatting.size(event.done)
    return safe_text(f"{event.done:,} {event.unit}" if event.total else event.unit)


def _rate(event: Progress, seconds: float) -> str:
    if event.total < 2 or seconds < 0.1:
        return ""
    rate = event.done / seconds
    return f"{formatting.size(int(rate))}/s" if event.unit == "bytes" else safe_text(f"{rate:,.0f} {event.unit}/s")
