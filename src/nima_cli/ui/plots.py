"""Curves drawn with characters."""

import math
from collections.abc import Sequence

from nima_cli.curves import X_LABELS, Curve, Row, XAxis, curves, is_logarithmic, metric_label, time_unit
from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text

# Entries of the 256-colour palette nearest to the colour-blind-safe set of Okabe and Ito ("Color Universal Design").
_COLOURS = (33, 208, 36, 175, 117, 220)
# Without colour, curves are told apart by what they are drawn with.
_MARKERS = ("braille", "+", "o", "x", "*", "#")
_ASCII_MARKERS = (".", *_MARKERS[1:])
_BRAILLE_SAMPLE = "⠤⠤"
_FRAME = str.maketrans("─│┌┐└┘├┤┬┴┼", "-|+++++++++")


def terminal_plot(
    runs: Sequence[tuple[str, Sequence[Row]]],
    metric: str,
    x: XAxis,
    smooth: float,
    width: int,
    height: int,
    *,
    colour: bool = True,
    only_ascii: bool = False,
) -> str:
    """One metric over the runs as `height` lines of at most `width` characters, each ended by a newline.

    Args:
        runs: (name, rows of `metrics.jsonl`).
        metric, x, smooth: as for `nima_cli.curves.curves`.
        colour: whether escape codes for colour may be used; without it, curves differ by their characters.
        only_ascii: whether that encoding is all there is: curves and frame are then drawn with its characters.

    Raises:
        InputError: an unknown metric, a bad `smooth`, or nothing to draw.
    """
    lines = curves(runs, metric, x, smooth)
    unit, per_unit = time_unit(max(at for line in lines for at in line.xs)) if x == "time" else ("", 1.0)
    legend = _legend(lines, width, many_runs=len(runs) > 1, colour=colour, only_ascii=only_ascii)
    headline = f"{metric_label(metric)}\n{legend}\n"
    height = max(8, height - headline.count("\n") - 1)
    plot = _draw(lines, per_unit, width, height, metric, colour=colour, only_ascii=only_ascii)
    label = X_LABELS[x] + (f" ({unit})" if unit else "")
    plot = plot.translate(_FRAME) if only_ascii else plot
    return f"{headline}{plot.rstrip()}\n{label.center(width).rstrip()}\n"


def _marker(number: int, *, colour: bool, only_ascii: bool) -> str:
    """What curve `number` is drawn with."""
    markers = _ASCII_MARKERS if only_ascii else _MARKERS
    return markers[0] if colour else markers[number % len(markers)]


def _legend(lines: Sequence[Curve], width: int, *, many_runs: bool, colour: bool, only_ascii: bool) -> str:
    """The curves' names behind samples of their strokes, in as many lines as needed."""
    rows, used = [""], 0
    for number, line in enumerate(lines):
        name = safe_text(line.label(many_runs=many_runs))
        marker = _marker(number, colour=colour, only_ascii=only_ascii)
        stroke = _BRAILLE_SAMPLE if marker == "braille" else marker * 2
        painted = f"\x1b[38;5;{_COLOURS[number % len(_COLOURS)]}m{stroke}\x1b[0m" if colour else stroke
        length = len(name) + 6
        if used and used + length > width:
            rows.append("")
            used = 0
        rows[-1] += f"{painted} {name}   "
        used += length
    return "\n".join(row.rstrip() for row in rows)


def _draw(
    lines: Sequence[Curve],
    per_unit: float,
    width: int,
    height: int,
    metric: str,
    *,
    colour: bool,
    only_ascii: bool,
) -> str:
    """The axes and the curves, drawn by plotext."""
    import plotext

    logarithmic = is_logarithmic(metric)
    plotext.terminal.limit(False, False)
    figure = plotext.figure.clear()
    figure.plot_size(width, height)
    figure.theme("simple")
    figure.canvas("default")
    for number, line in enumerate(lines):
        xs = [at / per_unit for at in line.xs]
        # plotext's own logarithmic scale misplaces given ticks, so logarithms are drawn on a linear one.
        ys = [math.log10(y) for y in line.ys] if logarithmic else line.ys
        symbol = _marker(number, colour=colour, only_ascii=only_ascii)
        marker = plotext.marker(symbol, plotext.pixel(_COLOURS[number % len(_COLOURS)]))
        figure.draw(figure.signal(xs, ys, marker=marker).lines(True))
    xs = [at / per_unit for line in lines for at in line.xs]
    ys = [y for line in lines for y in line.ys]
    figure.ruler("x").ticks(*_ticks(min(xs), max(xs), width // 12))
    figure.ruler("y").ticks(*(_log_ticks(min(ys), max(ys)) if logarithmic else _ticks(min(ys), max(ys), height // 3)))
    return str(figure.build().string(colorless=not colour))


def _ticks(low: float, high: float, wanted: int) -> tuple[list[float], list[str]]:
    """Round positions between `low` and `high`, about `wanted` of them, and their labels."""
    span = (high - low) or abs(high) or 1.0
    rough = span / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    positions = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    positions = positions or [low]
    return positions, [_tick_label(position, step) for position in positions]


def _log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Round values between two positive ones, 1-2-5 over a short range and powers of ten else, as logarithms."""
    factors = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [factor * 10.0**power for power in powers for factor in factors]
    values = [value for value in values if low <= value <= high] or [low]
    return [math.log10(value) for value in values], [formatting.count(value) for value in values]


def _tick_label(position: float, step: float) -> str:
    if step >= 1:
        return formatting.count(position)
    if step < 1e-3:
        return f"{position:.0e}" if position else "0"
    return f"{position:.{math.ceil(-math.log10(step) - 1e-9)}f}"
