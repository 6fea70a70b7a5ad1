"""What `nima train` shows: a live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from nima_cli.events import (
    EvalDone,
    Event,
    EventHandler,
    Note,
    Progress,
    RunEnded,
    RunStarted,
    SampleDrawn,
    StepDone,
    perplexity,
)
from nima_cli.ui import formatting
from nima_cli.ui.console import err, safe_text, say
from nima_cli.ui.progress_view import QuietView
from nima_cli.ui.tables import stacked, table
from nima_cli.ui.train_state import TrainState, data_line, ending, eval_facts, next_step, run_facts, step_facts

SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_DRAWS = 5.0, 0.1
SAMPLE_CHARACTERS, SAMPLE_LINES = 240, 4
NARROW = 76
MAX_SAMPLE_LINES = 5
MAX_EVALUATIONS = 8
# Lines of the display besides the evaluations.
OTHER_LINES = 17


def train_view(*, quiet: bool, clock: Callable[[], float] = time.monotonic) -> EventHandler:
    """The view that suits stderr: live on a terminal, lines in a pipe; with `quiet`, warnings only."""
    if quiet:
        return QuietView()
    return (LiveTrainView if err().is_terminal else LineTrainView)(err(), clock=clock)


class LineTrainView(EventHandler):
    """Lines that are never redrawn: for logs, pipes and NO_COLOR."""

    def __init__(self, console: Console, *, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._state = TrainState()
        self._next_line = self._next_sign = 0.0
        self._sampled = 0

    def __call__(self, event: Event, /) -> None:
        now = self._clock()
        self._state.take(event, now)
        place = f"step {self._state.step}/{self._state.total_steps}"
        match event:
            case RunStarted():
                self._print(f"run {event.run_dir}: {', '.join(run_facts(event))}")
                self._print(f"data {data_line(event)}")
                if event.first_step > 1:
                    self._print(f"goes on at step {event.first_step}")
                self._next_line, self._next_sign = now, now + SECONDS_BETWEEN_LINES
            case Progress() if self._state.last is None and now >= self._next_sign:  # a sign of life
                if self._state.step < self._state.first_figures():
                    self._next_sign = now + SECONDS_BETWEEN_LINES
                    self._print(f"{place}  first figures at step {self._state.first_figures()}")
            case StepDone() if now >= self._next_line or event.step >= self._state.total_steps:
                self._next_line = now + SECONDS_BETWEEN_LINES
                elapsed, eta = map(formatting.duration, (event.elapsed_seconds, self._state.eta()))
                facts = [place, f"epoch {event.epoch:.2f}", *step_facts(event), f"elapsed {elapsed}", f"eta {eta}"]
                self._print("  ".join(facts))
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

    def _show_sample(self, sample: SampleDrawn) -> None:
        """The beginning of the first sample of an evaluation; all are in `samples.jsonl`."""
        if sample.step == self._sampled:
            return
        self._sampled = sample.step
        text = sample.text[:SAMPLE_CHARACTERS]
        lines = text.split("\n")
        shortened = len(lines) > SAMPLE_LINES or text != sample.text
        self._print(f"sample {sample.step}  {sample.prompt}")
        for line in [*lines[:SAMPLE_LINES], *(["…"] if shortened else [])]:
            self._print(f"  | {line}")

    def _print(self, line: str) -> None:
        self._console.print(Text(safe_text(line)), soft_wrap=True)


class LiveTrainView(LineTrainView):
    """Redraws one block at the bottom of the terminal during the run, and prints lines before and after it.

    Events draw the display, so that no refresh thread takes time from training.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float]) -> None:
        super().__init__(console, clock=clock)
        self._live = Live(console=console, auto_refresh=False)
        self._next_draw = 0.0

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, RunStarted):
            self._live.start()
        elif isinstance(event, RunEnded):
            self.close()
        if not self._live.is_started or isinstance(event, Note):
            super().__call__(event)
            return
        now = self._clock()
        self._state.take(event, now)
        if isinstance(event, EvalDone) or now >= self._next_draw:
            self._draw(now)

    def close(self) -> None:
        if self._live.is_started:
            self._draw(self._clock())
            self._live.stop()

    def _draw(self, now: float) -> None:
        self._next_draw = now + SECONDS_BETWEEN_DRAWS
        self._live.update(picture(self._state, self._console, now), refresh=True)


def picture(state: TrainState, console: Console, now: float = 0.0) -> RenderableType:
    """The display in the console's size; works from 40 columns on."""
    width, height = console.size
    parts: list[RenderableType] = []
    if state.evals:
        parts.append(_evaluations(state, min(MAX_EVALUATIONS, max(2, height - OTHER_LINES)), width))
    if state.sample is not None:
        parts.append(_sample(state.sample, console, width))
    if state.started is not None:
        parts = [_header(state.started, width), *parts, _progress(state, state.started, width, now)]
    return stacked(*parts)


def _header(started: RunStarted, width: int) -> Text:
    title = Text.assemble(("nima train", "bold cyan"), "  ", (safe_text(str(started.run_dir)), "bold"))
    data = Text(safe_text(f"data  {data_line(started)}"))
    for line in (title, data):
        line.truncate(width, overflow="ellipsis")
    facts = _packed([Text(safe_text(fact), "dim") for fact in run_facts(started)], width)
    return Text("\n").join([title, data, facts])


def _packed(pieces: Sequence[Text], width: int, separator: str = " · ") -> Text:
    """Pieces joined in lines of at most `width` columns, never broken inside a piece."""
    text, used = Text(), 0
    for piece in pieces:
        if used and used + len(separator) + piece.cell_len > width:
            text, used = text.append("\n"), 0
        elif used:
            text.append(separator, style="dim")
            used += len(separator)
        text.append_text(piece)
        used += piece.cell_len
    return text


def _evaluations(state: TrainState, count: int, width: int) -> Table:
    wide, rows = width >= NARROW, []
    for event in state.evals[-count:]:
        is_best = state.best is event
        mark = "best" if is_best else event.split if event.split != "val" else ""
        rows.append(
            (
                str(event.step),
                f"{state.epoch_at(event.step):.2f}",
                formatting.loss(event.train_loss),
                formatting.loss(event.loss),
                formatting.ratio(perplexity(event.loss)),
                f"{event.bits_per_byte:.3f}",
                f"{event.accuracy:.1%}",
                Text(mark if wide else mark[:1].replace("b", "*"), "green" if is_best else "dim"),
            )
        )
    long = (">step", ">epoch", ">train loss", ">val loss", ">perplexity", ">bits/byte", ">accuracy", "")
    short = (">step", ">epoch", ">train", ">val", ">ppl", ">b/byte", ">acc", "")
    return table(long if wide else short, rows, styles=("", "", "", "bold"), gap=3 if wide else 1)


def _sample(sample: SampleDrawn, console: Console, width: int) -> Text:
    text = Text.assemble((safe_text(sample.prompt), "cyan"), (safe_text(sample.text), "italic"))
    lines = text.wrap(console, width, tab_size=4)
    shown = Text("\n").join(lines[:MAX_SAMPLE_LINES])
    return shown.append(" …", "dim") if len(lines) > MAX_SAMPLE_LINES else shown


def _progress(state: TrainState, started: RunStarted, width: int, now: float) -> RenderableType:
    done, total = state.step, max(1, state.total_steps)
    line = Table.grid(Column(no_wrap=True), Column(ratio=1), Column(no_wrap=True), padding=(0, 2, 0, 0), expand=True)
    line.add_row(
        f"epoch {state.epoch_at(done):.2f}/{started.total_epochs:.2f}",
        ProgressBar(total=total, completed=done, complete_style="cyan", finished_style="green"),
        f"{done}/{state.total_steps}  {done / total:.1%}",
    )
    waiting = f"first figures at step {state.first_figures()}" if state.step >= started.first_step else "starting"
    pieces = [Text(fact) for fact in (step_facts(state.last) if state.last is not None else [waiting])]
    if state.evals:
        pieces.insert(2, Text(f"val loss {formatting.loss(state.evals[-1].loss)}"))
    pieces.append(Text(f"elapsed {formatting.duration(state.elapsed(now))}"))
    pieces.append(Text(f"ETA {formatting.duration(state.eta(now))}", "bold"))
    if state.best is not None:
        pieces.append(Text(f"best {formatting.loss(state.best.loss)} at step {state.best.step}", "green"))
    return Group(line, _packed(pieces, width))
