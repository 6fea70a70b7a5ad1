"""Charts of an evaluation as SVG text, for its HTML report."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nima_cli.loggers.figures import rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Safe for colour-blind readers (Okabe and Ito, "Color Universal Design"); shapes differ as well.
_MODEL = "#0072B2"
_BASELINES = (("#E69F00", "s"), ("#D55E00", "D"), ("#009E73", "^"), ("#CC79A7", "v"))
_INK, _FAINT = "#333333", "#e3e3e3"
_WIDTH, _ROW = 9.0, 0.34  # inches
_NAME_CHARACTERS = 36
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Foreign text with control characters spelled out."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def overall_chart(result: Mapping[str, Any]) -> str:
    """Bits per byte of the model and each baseline, as bars."""
    rows = [(one["name"], one["bits_per_byte"]) for one in result["baselines"] if one["bits_per_byte"] is not None]
    rows.insert(0, ("this model", result["bits_per_byte"]))
    figure, axes = _chart(len(rows))
    colours = [_MODEL] + ["#b8c4cc"] * (len(rows) - 1)
    bars = axes.barh(range(len(rows)), [bits for _, bits in rows], color=colours, height=0.62)
    axes.bar_label(bars, fmt="%.3f", padding=5, color=_INK)
    _finish(axes, [name for name, _ in rows], max(bits for _, bits in rows))
    return _svg(figure)


def breakdown_chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """Bits per byte by name: a large dot for the model, a small mark for each baseline."""
    rows = [row for row in rows if row["bits_per_byte"] is not None]
    figure, axes = _chart(len(rows))
    names = [name for name in rows[0].get("baselines", {}) if any(row["baselines"][name] is not None for row in rows)]
    most = 0.0
    for at, row in enumerate(rows):
        known = [row["bits_per_byte"], *(bits for bits in row.get("baselines", {}).values() if bits is not None)]
        most = max(most, *known)
        axes.plot([min(known), max(known)], [at, at], color=_FAINT, linewidth=5, solid_capstyle="round", zorder=1)
    for name, (colour, marker) in zip(names, _BASELINES, strict=False):
        places = [at for at, row in enumerate(rows) if row["baselines"][name] is not None]
        bits = [rows[at]["baselines"][name] for at in places]
        axes.scatter(bits, places, color=colour, marker=marker, s=34, label=name, zorder=2)
    bits = [row["bits_per_byte"] for row in rows]
    axes.scatter(bits, range(len(rows)), color=_MODEL, s=78, label="this model", zorder=3)
    if names:
        axes.legend(frameon=False, ncols=len(names) + 1, loc="lower left", bbox_to_anchor=(0.0, 1.0), handletextpad=0.2)
    _finish(axes, [row["name"] for row in rows], most)
    return _svg(figure)


def _chart(rows: int) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 1.1 + _ROW * rows), layout="constrained")
    return figure, figure.subplots()


def _finish(axes: "Axes", names: Sequence[str], most: float) -> None:
    short = [name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…" for name in names]
    axes.set_yticks(range(len(names)), [visible(name) for name in short], color=_INK, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * most)
    axes.set_xlabel("bits per byte (less is better)", color=_INK)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.grid(visible=True, axis="x", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def _svg(figure: "Figure") -> str:
    return rendered(figure, "svg", transparent=True).decode("utf-8")
