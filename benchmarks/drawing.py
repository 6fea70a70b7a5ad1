"""Lines and bars as PNG files, in the colours of nima's own figures; knows nothing of what they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

# Okabe and Ito, "Color Universal Design": told apart under every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        lines: points by name; one of a single point is drawn as a mark.
        level: a dashed line across, and its name.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    level: tuple[str, float] | None = None


@dataclass(frozen=True)
class Bars:
    """Figures beside each other, longest first or as they come."""

    title: str
    x_label: str
    values: Mapping[str, float]


def draw_lines(panels: Sequence[Panel], path: Path) -> None:
    """All panels beside each other."""
    figure = Figure(figsize=(7.0 * len(panels), 5.0), dpi=130, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, (name, points) in enumerate(panel.lines.items()):
            xs, ys = zip(*sorted(points), strict=True)
            axes.plot(xs, ys, color=COLOURS[number % len(COLOURS)], marker="o", markersize=4, linewidth=2, label=name)
        if panel.level is not None:
            axes.axhline(panel.level[1], color="#777777", linestyle="--", linewidth=1, label=panel.level[0])
        axes.set_ylabel(panel.y_label)
        axes.legend(frameon=False)
        _dress(axes, panel.title, panel.x_label)
    figure.savefig(path)


def draw_bars(groups: Sequence[Bars], path: Path) -> None:
    """All groups above each other; nima's bars, whose names begin so, in one colour and the others in another."""
    heights = [0.32 * len(group.values) + 0.9 for group in groups]
    figure = Figure(figsize=(9.0, sum(heights)), dpi=130, layout="constrained")
    places = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, group in zip(places, groups, strict=True):
        names = list(group.values)
        colours = [COLOURS[0] if name.startswith("nima") else "#999999" for name in names]
        drawn = axes.barh(names, list(group.values.values()), color=colours)
        axes.bar_label(drawn, fmt=_short, padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        _dress(axes, group.title, group.x_label)
    figure.savefig(path)


def _short(value: float) -> str:
    """Whole numbers from a thousand on, otherwise three digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _dress(axes: Axes, title: str, x_label: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(visible=True, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
