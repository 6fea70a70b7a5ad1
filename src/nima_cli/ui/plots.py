"""Curves drawn with characters."""

import math
from collections.abc import Sequence

from nima_cli.curves import Runs, XAxis, curves, is_logarithmic, metric_label, x_axis
from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text

# Entries of the 256-colour palette nearest to the colour-blind-safe set of Okabe and Ito ("Color Universal Design").
_COLOURS = (33, 208, 36, 175, 117, 220)
# Without colour, curves are told apart by their characters.
_MARKERS = ("braille", "+", "o", "x", "*", "#")
_ASCII_MARKERS = (".", *_MARKERS[1:])
_BRAILLE_SAMPLE = "⠤⠤"
_Points = tuple[list[float], list[float]]
_FRAME = str.maketrans("─│┌┐└┘├┤┬┴┼", "-|+++++++++")


def terminal_plot(
    runs: Runs, metric: str, x: XAxis, smooth: float, width: int, height: int, *, colour: bool, only_ascii: bool = False
) -> str:
    """One metric over the runs as `height` lines of at most `width` characters.

    Args:
        runs, metric, x, smooth: as for `nima_cli.curves.curves`, which says what is raised.
        colour: use escape codes; without it, curves differ by their characters.
        only_ascii: draw curves and frame with ASCII characters.
    """
    lines = curves(runs, metric, x, smooth)
    label, unit = x_axis(lines, x)
    known = _ASCII_MARKERS if only_ascii else _MARKERS
    markers = [known[0 if colour else number % len(known)] for number in range(len(lines))]
    legend = _legend([line.label(many_runs=len(runs) > 1) for line in lines], markers, width, colour=colour)
    headline = f"{metric_label(metric)}\n{legend}\n"
    height = max(8, height - headline.count("\n") - 1)
    logarithmic = is_logarithmic(metric)
    points = [
        # plotext's own logarithmic scale misplaces given ticks, so logarithms are drawn on a linear one.
        ([at / unit for at in line.xs], [math.log10(y) for y in line.ys] if logarithmic else line.ys)
        for line in lines
    ]
    plot = _draw(points, markers, width, height, log=logarithmic, colour=colour)
    plot = plot.translate(_FRAME) if only_ascii else plot
    return f"{headline}{plot.rstrip()}\n{label.center(width).rstrip()}\n"


def _legend(names: Sequence[str], markers: Sequence[str], width: int, *, colour: bool) -> str:
    rows, used = [""], 0
    for number, (foreign, marker) in enumerate(zip(names, markers, strict=True)):
        name = safe_text(foreign)
        stroke = _BRAILLE_SAMPLE if marker == "braille" else marker * 2
        painted = f"\x1b[38;5;{_COLOURS[number % len(_COLOURS)]}m{stroke}\x1b[0m" if colour else stroke
        length = len(name) + 6
        if used and used + length > width:
            rows.append("")
            used = 0
        rows[-1] += f"{painted} {name}   "
        used += length
    return "\n".join(row.rstrip() for row in rows)


def _draw(points: list[_Points], markers: list[str], width: int, height: int, *, log: bool, colour: bool) -> str:
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure.clear()
    figure.plot_size(width, height)
    figure.theme("simple")
    figure.canvas("default")
    for number, ((xs, ys), symbol) in enumerate(zip(points, markers, strict=True)):
        marker = plotext.marker(symbol, plotext.pixel(_COLOURS[number % len(_COLOURS)]))
        figure.draw(figure.signal(xs, ys, marker=marker).lines(True))
    all_xs, all_ys = ([value for curve in points for value in curve[axis]] for axis in (0, 1))
    y_ticks = _log_ticks if log else _ticks
    figure.ruler("x").ticks(*_ticks(min(all_xs), max(all_xs), width // 12))
    figure.ruler("y").ticks(*y_ticks(min(all_ys), max(all_ys), height // 3))
    return str(figure.build().string(colorless=not colour))


def _ticks(low: float, high: float, wanted: int) -> tuple[list[float], list[str]]:
    """About `wanted` round positions between `low` and `high`, and their labels."""
    span = (high - low) or abs(high) or 1.0
    rough = span / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    positions = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    positions = positions or [low]
    return positions, [_tick_label(position, step) for position in positions]


def _log_ticks(low: float, high: float, _: int) -> tuple[list[float], list[str]]:
    """Round values between two logarithms: 1-2-5 over a short range, else powers of ten."""
    factors = (1, 2, 5) if high - low < math.log10(300) else (1,)
    values = [factor * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for factor in factors]
    values = [value for value in values if low <= math.log10(value) <= high] or [10.0**low]
    return [math.log10(value) for value in values], [formatting.count(value) for value in values]


def _tick_label(position: float, step: float) -> str:
    if step >= 1:
        return formatting.count(position)
    if step < 1e-3:
        return f"{position:.0e}" if position else "0"
    return f"{position:.{math.ceil(-math.log10(step) - 1e-9)}f}"
