"""Rows of metrics as curves: which rows, where on the x axis, smoothed how."""

import math
from pathlib import PurePosixPath
from typing import Any

import pytest

from nima_cli.curves import Curve, XAxis, curves, metric_label, short_names, x_axis
from nima_cli.errors import InputError
from nima_cli.loggers.jsonl import metrics_row
from tests import recorded_run as run


def rows(*events: Any) -> list[dict[str, Any]]:
    return [row for event in events if (row := metrics_row(event)) is not None]


RUN = rows(
    run.started(),
    run.step(10, 4.0),
    run.step(20, 2.0),
    run.evaluation(20, 2.5),
    run.step(30, math.nan),
    run.evaluation(30, 2.4, split="test"),
)


def test_a_metric_gives_the_training_and_the_validation_curve() -> None:
    train, val = curves([("a", RUN)], "loss", "step", 0.0)
    assert (train.kind, train.xs, train.ys) == ("train", [10.0, 20.0], [4.0, 2.0])
    assert (val.kind, val.xs, val.ys) == ("val", [20.0], [2.5])


@pytest.mark.parametrize(("metric", "kinds"), [("train_loss", ["train"]), ("val_loss", ["val"]), ("accuracy", ["val"])])
def test_a_metric_may_name_its_side(metric: str, kinds: list[str]) -> None:
    assert [curve.kind for curve in curves([("a", RUN)], metric, "step", 0.0)] == kinds


@pytest.mark.parametrize(
    ("x", "train", "val"),
    [("step", [10, 20], [20]), ("tokens", [40960, 81920], [81920]), ("time", [5, 10], [10])],
)
def test_both_curves_share_the_x_axis(x: XAxis, train: list[float], val: list[float]) -> None:
    assert [curve.xs for curve in curves([("a", RUN)], "loss", x, 0.0)] == [train, val]


def test_smoothing_is_a_debiased_moving_average_of_the_training_curve_only() -> None:
    noisy = rows(run.step(1, 8.0), run.step(2, 4.0), run.evaluation(2, 9.0), run.step(3, 4.0), run.evaluation(3, 1.0))
    train, val = curves([("a", noisy)], "loss", "step", 0.5)
    assert train.ys == pytest.approx([8.0, (0.5 * 8 + 4) / 1.5, (0.25 * 8 + 0.5 * 4 + 4) / 1.75])
    assert val.ys == [9.0, 1.0]


def test_several_runs_are_told_apart() -> None:
    found = curves([("a", RUN), ("b", RUN)], "loss", "step", 0.0)
    assert [curve.label(many_runs=True) for curve in found] == ["a train", "a val", "b train", "b val"]


@pytest.mark.parametrize("metric", ["losss", "val_", "train_tokens"])
def test_an_unknown_metric_lists_the_known(metric: str) -> None:
    with pytest.raises(InputError, match=f"`{metric}`: no such metric") as failure:
        curves([("a", RUN)], metric, "step", 0.0)
    assert "bits_per_byte" in (failure.value.hint or "")


@pytest.mark.parametrize("smooth", [-0.1, 1.0, math.nan])
def test_smoothing_has_a_range(smooth: float) -> None:
    with pytest.raises(InputError, match="at least 0 and below 1"):
        curves([("a", RUN)], "loss", "step", smooth)


def test_a_run_without_values_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="`loss`: no values yet in fresh"):
        curves([("fresh", RUN[:1])], "loss", "step", 0.0)


def test_labels_carry_units() -> None:
    assert metric_label("val_loss") == "val loss (nats per token)"
    assert metric_label("bits_per_byte") == "bits per byte"
    lines = {seconds: [Curve("a", "val", [0.0, seconds], [1.0, 1.0])] for seconds in (60.0, 600.0, 60000.0)}
    assert [x_axis(line, "time") for line in lines.values()] == [
        ("training time (s)", 1.0), ("training time (min)", 60.0), ("training time (h)", 3600.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["/r/a", "/r/b"], ["a", "b"]),
        (["/small/run", "/large/run"], ["small/run", "large/run"]),
        (["/x/1/run", "/y/1/run", "/y/2/run"], ["x/1/run", "y/1/run", "2/run"]),
        (["/run", "/x/run", "/b"], ["//run", "x/run", "b"]),
    ],
)
def test_a_run_is_named_by_as_many_folders_as_tell_it_from_the_others(folders: list[str], names: list[str]) -> None:
    assert short_names([PurePosixPath(folder) for folder in folders]) == names
