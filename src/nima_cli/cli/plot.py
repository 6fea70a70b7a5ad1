"""`nima plot`: curves of one or more runs, in the terminal or as a file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from nima_cli.cli.options import Debug, Quiet, examples
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.curves import Row, XAxis

EXAMPLES = examples(
    "nima plot experiments/technical",
    "nima plot experiments/technical experiments/technical-2 --metric loss --x time",
    "nima plot experiments/technical --metric loss perplexity --output curves.png",
)
_REFRESH_SECONDS = 2.0


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="loss, perplexity, learning_rate, ...", show_default="loss")
    ] = None,
    x: Annotated[str, typer.Option("--x", help="step, tokens or time.", metavar="AXIS")] = "step",
    smooth: Annotated[float, typer.Option("--smooth", help="0 (none) to below 1: exponential moving average.")] = 0.0,
    output: Annotated[
        Path | None, typer.Option("--output", help="Draw into this .png or .svg file instead.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Draw again whenever the metrics grow; Ctrl-C ends.")] = False,
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Draw the curves of training runs, also while they train."""
    from nima_cli.curves import XAxis
    from nima_cli.ui.console import is_rich, out, say

    if x not in get_args(XAxis):
        raise InputError(f"`--x {x}`: no such axis", hint=f"use {', '.join(get_args(XAxis))}")
    metrics = metric or ["loss"]
    if output is not None:
        from nima_cli.sinks.figures import draw_figure

        draw_figure(_read(runs), metrics, x, smooth, output)  # type: ignore[arg-type]  # checked above
        if not quiet:
            say(f"drew {output}")
        return
    import sys

    if watch and is_rich(sys.stdout):
        _watch(runs, metrics, x, smooth)  # type: ignore[arg-type]
        return
    sys.stdout.write(_picture(runs, metrics, x, smooth, out().width, 24))  # type: ignore[arg-type]


def _picture(runs: list[Path], metrics: list[str], x: "XAxis", smooth: float, width: int, height: int) -> str:
    """Every metric below the other; nothing wider than a screen is worth reading."""
    import sys

    from nima_cli.ui.console import is_rich
    from nima_cli.ui.plots import terminal_plot

    rows = _read(runs)
    colour = is_rich(sys.stdout)
    return "\n".join(terminal_plot(rows, name, x, smooth, min(width, 120), height, colour=colour) for name in metrics)


def _watch(runs: list[Path], metrics: list[str], x: "XAxis", smooth: float) -> None:
    from rich.live import Live
    from rich.text import Text

    from nima_cli.ui.console import out

    console = out()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            height = max(12, console.height // len(metrics) - 2)
            picture = _picture(runs, metrics, x, smooth, console.width, height)
            live.update(Text.from_ansi(picture), refresh=True)
            try:
                time.sleep(_REFRESH_SECONDS)
            except KeyboardInterrupt:
                return


def _read(runs: list[Path]) -> "list[tuple[str, list[Row]]]":
    """Name and rows of each run.

    Raises:
        InputError: a path is no run directory.
    """
    from nima_cli.sinks.jsonl import read_metrics

    found: list[tuple[str, list[Row]]] = []
    for run in runs:
        path = run / "metrics.jsonl" if run.is_dir() else run
        if not path.is_file():
            raise InputError(f"{run}: no run directory: it has no `metrics.jsonl`")
        found.append((path.parent.resolve().name, [*read_metrics(path)]))
    return found
