"""`nima plot`: curves of one or more runs, in the terminal or as a file."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer

from nima_cli.cli import rundir
from nima_cli.cli.options import Debug, Quiet, examples, option, path_of, path_option, require_choice, switch
from nima_cli.curves import Row, XAxis, short_names
from nima_cli.errors import InputError
from nima_cli.ui.console import can_show, is_rich, out, say, write_out

EXAMPLES = examples(
    "nima plot",
    "nima plot experiments/technical experiments/technical-2 --x time",
    "nima plot --metric loss perplexity --output curves.png",
    note="experiments/technical and the like are run directories that `nima train` made.",
)
_REFRESH_SECONDS = 2.0
_LINES_OF_PROMPT = 2  # many prompts have two


def plot(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN", parser=path_of, hidden=True)] = None,
    metric: list[str] | None = option(
        None,
        "NAME...",
        "loss, perplexity, bits_per_byte, accuracy, learning_rate, grad_norm or tokens_per_second; takes several.",
        show_default="loss",
    ),
    x: str = option("step", "AXIS", "step, tokens or time."),
    smooth: float = option(0.0, "X", "0 (none) to below 1: exponential moving average."),
    output: Path | None = path_option(None, "FILE", "Draw into this .png or .svg file instead."),
    watch: bool = switch("--watch", "Draw again whenever the metrics grow; Ctrl-C ends."),
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Draw the curves of training runs, also while they train.

    RUN is a run directory; by default the newest.
    """
    require_choice("--x", x, get_args(XAxis))
    axis: XAxis = x  # type: ignore[assignment]  # checked above
    metrics, chosen = metric or ["loss"], runs or [rundir.newest_run("a path", "run", quiet=quiet)]
    picture = partial(_picture, chosen, metrics, axis, smooth)
    if output is not None:
        from nima_cli.loggers.figures import draw_figure

        draw_figure(_read(chosen), metrics, axis, smooth, output)
        if not quiet:
            say(f"drew {output}")
    elif watch and is_rich(sys.stdout):
        _watch(picture, len(metrics))
    else:  # on a terminal the title must not leave by the top when the prompt comes back
        on_terminal = sys.stdout is not None and sys.stdout.isatty()
        write_out(picture(min(24, out().height - _LINES_OF_PROMPT) if on_terminal else 24))


def _picture(runs: list[Path], metrics: list[str], x: XAxis, smooth: float, height: int) -> str:
    """The plots of all metrics, one below the other, at most as wide as a screen."""
    from nima_cli.ui.plots import terminal_plot

    rows, width = _read(runs), min(out().width, 120)
    colour, plain = is_rich(sys.stdout), not can_show("┤⠤", sys.stdout)
    return "\n".join(
        terminal_plot(rows, name, x, smooth, width, height, colour=colour, only_ascii=plain) for name in metrics
    )


def _watch(picture: Callable[[int], str], n_metrics: int) -> None:
    from rich.live import Live
    from rich.text import Text

    console = out()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            height = max(12, console.height // n_metrics - 2)
            live.update(Text.from_ansi(picture(height)), refresh=True)
            try:
                time.sleep(_REFRESH_SECONDS)
            except KeyboardInterrupt:
                return


def _read(runs: list[Path]) -> list[tuple[str, list[Row]]]:
    """Name and rows of each run; a run that is named twice is drawn once."""
    from nima_cli.loggers.jsonl import read_metrics

    found: dict[Path, list[Row]] = {}
    for run in runs:
        path = run / "metrics.jsonl" if run.is_dir() else run
        if not path.is_file():
            raise InputError(f"{run}: no run directory: it has no `metrics.jsonl`")
        found[path.resolve().parent] = [*read_metrics(path)]
    return list(zip(short_names(list(found)), found.values(), strict=True))
