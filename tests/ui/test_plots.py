"""Terminal plots: the size asked for, every curve visible, colour only when allowed."""

import re
from typing import Any

import pytest

from nima_cli.curves import XAxis
from nima_cli.errors import InputError
from nima_cli.loggers.jsonl import metrics_row
from nima_cli.ui.plots import terminal_plot
from tests import recorded_run as run


def rows(*events: Any) -> list[dict[str, Any]]:
    return [row for event in events if (row := metrics_row(event)) is not None]


RUN = rows(*run.whole_run())
CODES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(("width", "height"), [(60, 16), (78, 20), (200, 50)])
@pytest.mark.parametrize("colour", [True, False])
def test_a_plot_has_the_size_asked_for(width: int, height: int, colour: bool) -> None:
    plot = CODES.sub("", terminal_plot([("a", RUN)], "loss", "step", 0.0, width, height, colour=colour))
    assert plot.count("\n") == height
    assert max(map(len, plot.splitlines())) == width


def test_without_colour_there_is_no_escape_code_and_curves_differ_by_character() -> None:
    plot = terminal_plot([("a", RUN)], "loss", "step", 0.0, 78, 20, colour=False)
    headline, legend, *drawing, label = plot.splitlines()
    assert headline == "loss (nats per token)"
    assert legend == "⠤⠤ train   ++ val"
    assert label.strip() == "step"
    assert any("+" in line for line in drawing)
    assert any("\u2801" <= char <= "\u28ff" for line in drawing for char in line)
    assert "\x1b" not in plot
    assert "\r" not in plot


def test_with_colour_each_curve_has_its_own() -> None:
    plot = terminal_plot([("a", RUN), ("b", RUN)], "loss", "step", 0.0, 120, 20, colour=True)
    legend = plot.splitlines()[1]
    assert CODES.sub("", legend) == "⠤⠤ a train   ⠤⠤ a val   ⠤⠤ b train   ⠤⠤ b val"
    assert len(set(re.findall(r"\x1b\[38;5;(\d+)m", legend))) == 4


def test_names_cannot_steer_the_terminal_and_long_legends_wrap() -> None:
    plot = terminal_plot([(f"run-{n}\x1b]0;", RUN) for n in range(6)], "loss", "step", 0.0, 60, 20, colour=False)
    assert "\x1b" not in plot
    legend = plot.split("\n ", 1)[0].splitlines()[1:]
    assert len(legend) > 1
    assert max(map(len, legend)) <= 60
    assert sum(line.count("run-") for line in legend) == 12


@pytest.mark.parametrize(
    ("x", "label", "ticks"),
    [
        ("step", "step", {"20", "100"}),
        ("tokens", "training tokens", {"100k", "400k"}),
        ("time", "training time (s)", {"10", "50"}),
    ],
)
def test_the_x_axis(x: XAxis, label: str, ticks: set[str]) -> None:
    lines = terminal_plot([("a", RUN)], "loss", x, 0.0, 100, 20, colour=False).splitlines()
    assert lines[-1].strip() == label
    assert ticks <= set(lines[-2].split())


def test_the_y_axis_is_round_numbers_and_logarithmic_for_perplexity() -> None:
    def ticks(metric: str) -> list[str]:
        lines = terminal_plot([("a", RUN)], metric, "step", 0.0, 78, 24, colour=False).splitlines()
        return [line.split("┤")[0].strip() for line in lines if "┤" in line]

    assert ticks("loss") == ["6.0", "5.5", "5.0", "4.5", "4.0", "3.5", "3.0", "2.5"]
    assert ticks("perplexity") == ["500", "200", "100", "50", "20", "10"]


@pytest.mark.parametrize("events", [[run.step(1, 3.0)], [run.step(1, 3.0), run.step(2, 3.0)], [run.step(1, 0.0)]])
def test_a_single_or_constant_value_is_drawn(events: list[Any]) -> None:
    assert "train" in terminal_plot([("a", rows(*events))], "loss", "step", 0.0, 60, 12, colour=False)


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(InputError, match="no values yet"):
        terminal_plot([("a", [])], "loss", "step", 0.0, 60, 12, colour=False)


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("metric", ["loss", "perplexity"])
def test_where_ascii_is_all_there_is_the_frame_and_the_curves_are_of_it(metric: str, colour: bool) -> None:
    plot = terminal_plot([("a", RUN), ("b", RUN)], metric, "step", 0.0, 78, 20, colour=colour, only_ascii=True)
    assert plot.isascii()
    drawn = CODES.sub("", plot).splitlines()
    assert len(drawn) == 20
    assert drawn[1].startswith(".. a train")
    assert any("|" in line for line in drawn)
