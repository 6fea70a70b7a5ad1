"""Curves as PNG and SVG files, drawn without the global state of matplotlib."""

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.curves import Curve, Row, Runs, XAxis, curves, is_logarithmic, metric_label, metric_title, x_axis
from nima_cli.errors import InputError
from nima_cli.events import EvalDone, Event, EventHandler, RolledBack, RunEnded
from nima_cli.files import atomic_write, make_folder
from nima_cli.loggers.jsonl import metrics_row, until_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Safe for colour-blind readers (Okabe and Ito, "Color Universal Design").
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INCHES, _DPI = (8.0, 5.0), 150

RUN_FIGURES = {"loss.png": "loss", "perplexity.png": "perplexity", "learning_rate.png": "learning_rate"}
_DRAWING_SHARE = 0.005  # of the time of a run, at most


class FiguresLogger(EventHandler):
    """Draws `loss.png`, `perplexity.png` and `learning_rate.png` of a run.

    It does so at the end and at evaluations, as long as drawing takes no more than 0.5% of the time.
    """

    def __init__(self, folder: Path, *, rows: Iterable[Row] = (), clock: Callable[[], float] = time.monotonic) -> None:
        """On resume, `rows` are those of `metrics.jsonl` up to the checkpoint."""
        self._folder = folder
        self._rows = [dict(row) for row in rows]
        self._clock = clock
        self._not_before = 0.0

    def __call__(self, event: Event, /) -> None:
        """Take one event; raises ResourceError when a file cannot be written."""
        row = metrics_row(event)
        if row is not None and row["event"] in ("step", "eval"):
            self._rows.append(row)
        if isinstance(event, RolledBack):
            self._rows = until_step(self._rows, event.step)
        if isinstance(event, RunEnded) or (isinstance(event, EvalDone) and self._clock() >= self._not_before):
            started = self._clock()
            make_folder(self._folder)
            for name, metric in RUN_FIGURES.items():
                with contextlib.suppress(InputError):  # no finite value of this metric yet
                    draw_figure([("this run", self._rows)], [metric], "step", 0.0, self._folder / name)
            ended = self._clock()
            self._not_before = ended + (ended - started) / _DRAWING_SHARE


def draw_figure(runs: Runs, metrics: Sequence[str], x: XAxis, smooth: float, path: Path) -> None:
    """Draw metrics above each other into a `.png` or `.svg` file of 1200 pixels' width.

    Args:
        runs, metrics, x, smooth: as for `nima_cli.curves.curves`, which says what is raised.

    Raises:
        InputError: another ending.
        ResourceError: the file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise InputError(f"{path}: cannot draw this kind of file", hint="end the name in `.png` or `.svg`")
    panels = [curves(runs, name, x, smooth) for name in metrics]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_INCHES[0], _INCHES[1] * len(panels)), dpi=_DPI, layout="constrained")
    all_axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, name, lines in zip(all_axes, metrics, panels, strict=True):
        _panel(axes, name, lines, x, many_runs=len(runs) > 1)
    data = rendered(figure, kind)
    with atomic_write(path) as stream:
        stream.write(data)


def _panel(axes: "Axes", metric: str, lines: Sequence[Curve], x: XAxis, *, many_runs: bool) -> None:
    from matplotlib.ticker import EngFormatter

    label, unit = x_axis(lines, x)
    runs = list(dict.fromkeys(line.run for line in lines))
    handles = []
    for line in lines:
        colour = _COLOURS[(runs.index(line.run) if many_runs else line.kind != "train") % len(_COLOURS)]
        stroke: dict[str, Any] = {"linewidth": 2.0, "marker": "o", "markersize": 4.5}
        if line.kind == "train":
            stroke = {"linewidth": 1.2, "alpha": 0.75, "marker": "." if len(line.xs) == 1 else ""}
        handles += axes.plot([at / unit for at in line.xs], line.ys, color=colour, **stroke)
    axes.set_xlabel(label)
    axes.set_ylabel(metric_label(metric))
    axes.set_title(metric_title(metric), loc="left", fontweight="bold")
    if is_logarithmic(metric):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.xaxis.set_major_formatter(EngFormatter(sep="") if x == "tokens" else "{x:g}")
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(handles, [line.label(many_runs=many_runs) for line in lines], frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def rendered(figure: "Figure", kind: str, **options: Any) -> bytes:
    """The bytes of a `png` or `svg` file without dates, so that equal figures give equal files."""
    import matplotlib

    data = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "nima"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(data, format=kind, metadata=metadata, **options)
    return data.getvalue()
