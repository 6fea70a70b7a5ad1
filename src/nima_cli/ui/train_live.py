"""Training as a live display on a terminal: header, evaluations, a sample, progress; knows nothing of pipes."""

from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nima_cli.events import EvalDone, Event, Note, RunEnded, RunStarted, SampleDrawn, View, perplexity
from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text, say
from nima_cli.ui.train_state import Evaluation, TrainState, data_line, facts, first_figures, next_step, step_facts

SECONDS_BETWEEN_DRAWS = 0.1
NARROW = 76
SAMPLE_LINES = 5
MAX_EVALUATIONS = 8
# Lines of the display besides the evaluations: header, sample, progress and the blank lines between them.
OTHER_LINES = 17


class LiveTrainView:
    """Redraws one block at the bottom of the terminal while the run goes on; `after` shows what comes before and after.

    There is no refresh thread: the display is drawn by the events themselves, so it costs the training loop nothing
    between them.
    """

    def __init__(self, console: Console, *, after: View, clock: Callable[[], float]) -> None:
        self._console = console
        self._after = after
        self._clock = clock
        self._state = TrainState()
        self._live = Live(console=console, auto_refresh=False)
        self._next_draw = 0.0

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        if isinstance(event, RunStarted):
            self._live.start()
        elif not self._live.is_started:
            self._after(event)
            return
        now = self._clock()
        self._state.take(event, now)
        if isinstance(event, Note):
            say(event.message, event.level)
        elif isinstance(event, RunEnded):
            self.close()
            self._after(event)
            if self._state.started is not None and (hint := next_step(event, self._state.started.run_dir)):
                say(hint, "hint")
        elif isinstance(event, EvalDone) or now >= self._next_draw:
            self._draw(now)

    def close(self) -> None:
        """Leave the last picture on the screen and give the cursor back."""
        if self._live.is_started:
            self._draw(self._clock())
            self._live.stop()
        self._after.close()

    def _draw(self, now: float) -> None:
        self._next_draw = now + SECONDS_BETWEEN_DRAWS
        self._live.update(picture(self._state, self._console, now), refresh=True)


def picture(state: TrainState, console: Console, now: float = 0.0) -> RenderableType:
    """The display for the console's size at a time of the view's clock; works from 40 columns on."""
    width, height = console.size
    parts: list[RenderableType] = []
    if state.started is not None:
        parts += [_header(state.started, width), Text()]
    if state.evals:
        shown = state.evals[-min(MAX_EVALUATIONS, max(2, height - OTHER_LINES)) :]
        parts += [_evaluations(state, shown, width), Text()]
    if state.sample is not None:
        parts += [_sample(state.sample, console, width), Text()]
    return Group(*parts, *_progress(state, width, now))


def pack(pieces: Sequence[Text], width: int, separator: str) -> Text:
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


def _header(started: RunStarted, width: int) -> Text:
    title = Text.assemble(("nima train", "bold cyan"), "  ", (safe_text(str(started.run_dir)), "bold"))
    title.truncate(width, overflow="ellipsis")
    data = Text(safe_text(f"data  {data_line(started)}"))
    data.truncate(width, overflow="ellipsis")
    title.append("\n").append_text(data)
    return title.append("\n").append_text(pack([Text(safe_text(fact), "dim") for fact in facts(started)], width, " · "))


def _evaluations(state: TrainState, shown: Sequence[Evaluation], width: int) -> Table:
    wide = width >= NARROW
    table = Table(box=None, padding=(0, 3 if wide else 2, 0, 0), pad_edge=False, header_style="dim")
    headings = ("step", "epoch", "train loss", "val loss", "perplexity", "bits/byte", "accuracy")
    for heading in headings if wide else ("step", "epoch", "train", "val", "ppl", "b/byte", "acc"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in shown:
        event = row.event
        is_best = state.best is event
        mark = "best" if is_best else event.split if event.split != "val" else ""
        table.add_row(
            str(event.step),
            f"{row.epoch:.2f}",
            formatting.loss(event.train_loss),
            Text(formatting.loss(event.loss), "bold"),
            formatting.ratio(perplexity(event.loss)),
            f"{event.bits_per_byte:.3f}",
            formatting.percent(event.accuracy),
            Text(mark if wide else mark[:1].replace("b", "*"), "green" if is_best else "dim"),
        )
    return table


def _sample(sample: SampleDrawn, console: Console, width: int) -> Text:
    text = Text.assemble((safe_text(sample.prompt), "cyan"), (safe_text(sample.text), "italic"))
    lines = text.wrap(console, width, tab_size=4)
    shown = Text("\n").join(lines[:SAMPLE_LINES])
    return shown.append(" …", "dim") if len(lines) > SAMPLE_LINES else shown


def _progress(state: TrainState, width: int, now: float) -> list[RenderableType]:
    if state.started is None:
        return []
    done = state.step
    line = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    line.add_column(no_wrap=True)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_row(
        f"epoch {state.epoch_at(done):.2f}/{state.started.total_epochs:.2f}",
        ProgressBar(total=max(1, state.total_steps), completed=done, complete_style="cyan", finished_style="green"),
        f"{done}/{state.total_steps}  {formatting.percent(done / max(1, state.total_steps))}",
    )
    line.expand = True
    return [line, pack(_numbers(state, now), width, " · ")]


def _numbers(state: TrainState, now: float) -> list[Text]:
    pieces = [Text(fact) for fact in step_facts(state.last)] if state.last is not None else [Text(_waiting(state))]
    if state.evals:
        pieces.insert(2, Text(f"val loss {formatting.loss(state.evals[-1].event.loss)}"))
    pieces.append(Text(f"elapsed {formatting.duration(state.elapsed(now))}"))
    pieces.append(Text(f"ETA {formatting.duration(state.eta(now))}", "bold"))
    if state.best is not None:
        pieces.append(Text(f"best {formatting.loss(state.best.loss)} at step {state.best.step}", "green"))
    return pieces


def _waiting(state: TrainState) -> str:
    if state.started is None or state.step < state.started.first_step:
        return "starting"
    return f"first figures at step {first_figures(state.started)}"
