"""Rows of `metrics.jsonl` as lines to draw, x against y."""

import bisect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal

from nima_cli.errors import InputError

Row = Mapping[str, Any]
Runs = Sequence[tuple[str, Sequence[Row]]]  # (name, rows of `metrics.jsonl` in order)
XAxis = Literal["step", "tokens", "time"]

# What can be drawn, and its unit.
METRICS = {
    "loss": "nats per token",
    "perplexity": "",
    "bits_per_byte": "bits per byte",
    "accuracy": "share of tokens",
    "learning_rate": "",
    "grad_norm": "",
    "tokens_per_second": "tokens per second",
}
_X_LABELS: dict[XAxis, str] = {"step": "step", "tokens": "training tokens", "time": "training time"}


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot; `kind` is `train` for the steps, `val` for the evaluations."""

    run: str
    kind: str
    xs: list[float]
    ys: list[float]

    def label(self, *, many_runs: bool) -> str:
        """Its name in a legend."""
        return f"{self.run} {self.kind}" if many_runs else self.kind


def short_names(folders: Sequence[PurePath]) -> list[str]:
    """The last parts of each path, as many as tell it from the others; the paths differ."""
    names = []
    for folder in folders:
        parts = 1
        others = [other.parts for other in folders if other != folder]
        while parts < len(folder.parts) and any(other[-parts:] == folder.parts[-parts:] for other in others):
            parts += 1
        names.append("/".join(folder.parts[-parts:]))
    return names


def metric_title(metric: str) -> str:
    """`val_bits_per_byte` -> `val bits per byte`."""
    return metric.replace("_", " ")


def metric_label(metric: str) -> str:
    """The metric and its unit, for an axis."""
    title, unit = metric_title(metric), METRICS[_split_metric(metric)[1]]
    return f"{title} ({unit})" if unit and unit not in title else title


def is_logarithmic(metric: str) -> bool:
    """Whether a metric is drawn on a logarithmic axis."""
    return metric.endswith("perplexity")


def curves(runs: Runs, metric: str, x: XAxis, smooth: float) -> list[Curve]:
    """The lines of one metric over several runs.

    Args:
        metric: a name of `METRICS`; with `train_` or `val_` before it, only that side.
        x: optimizer steps, training tokens, or seconds spent in optimizer steps.
        smooth: weight of the past, 0 to below 1, of a bias-corrected exponential moving average over training curves.

    Raises:
        InputError: an unknown metric, `smooth` outside its range, or no row holds the metric.
    """
    kind, field = _split_metric(metric)
    if not 0.0 <= smooth < 1.0:
        raise InputError(f"`smooth` {smooth:g}: must be at least 0 and below 1")
    found = [
        curve for name, rows in runs for curve in _curves_of_run(name, rows, field, x) if kind in (None, curve.kind)
    ]
    if not found:
        raise InputError(f"`{metric}`: no values yet in {', '.join(name for name, _ in runs) or 'no run'}")
    return [replace(curve, ys=_smoothed(curve.ys, smooth)) if curve.kind == "train" else curve for curve in found]


def x_axis(lines: Sequence[Curve], x: XAxis) -> tuple[str, float]:
    """The label of the x axis and the size of its unit; time is in the unit that reads best."""
    if x != "time":
        return _X_LABELS[x], 1.0
    seconds = max(at for line in lines for at in line.xs)
    name, unit = ("h", 3600.0) if seconds >= 3 * 3600 else ("min", 60.0) if seconds >= 180 else ("s", 1.0)
    return f"{_X_LABELS[x]} ({name})", unit


def _split_metric(metric: str) -> tuple[str | None, str]:
    found = re.fullmatch(r"(?:(train|val)_)?(.*)", metric)
    if found is None or found[2] not in METRICS:
        hint = f"one of {', '.join(METRICS)}, also with `train_` or `val_` before it"
        raise InputError(f"`{metric}`: no such metric", hint=hint)
    return found[1], found[2]


def _curves_of_run(name: str, rows: Sequence[Row], field: str, x: XAxis) -> Iterable[Curve]:
    steps = [row for row in rows if row.get("event") == "step"]
    evals = [row for row in rows if row.get("event") == "eval" and row["split"] == "val"]
    for kind, kind_rows in (("train", steps), ("val", evals)):
        values = [(row, row.get(field)) for row in kind_rows]
        points = [
            (_position(row, steps, x), float(value))
            for row, value in values
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        if points:
            yield Curve(name, kind, [at for at, _ in points], [y for _, y in points])


def _position(row: Row, steps: Sequence[Row], x: XAxis) -> float:
    if x != "tokens":
        return float(row["step" if x == "step" else "train_seconds"])
    if row["event"] == "step":
        return float(row["tokens"])
    # An evaluation's own `tokens` are those that were evaluated; training tokens come from the nearest step.
    before = bisect.bisect_right(steps, row["step"], key=lambda other: other["step"])
    nearest = steps[max(before - 1, 0)] if steps else None
    return float(nearest["tokens"] / nearest["step"] * row["step"]) if nearest else 0.0


def _smoothed(values: Sequence[float], weight: float) -> list[float]:
    total, weights, smoothed = 0.0, 0.0, []
    for value in values:
        total = weight * total + (1 - weight) * value
        weights = weight * weights + (1 - weight)
        smoothed.append(total / weights)
    return smoothed
