"""Figures: real files of the right size, redrawn within a budget, free of global state and of accidents with names."""

import math
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from nima_cli.errors import InputError
from nima_cli.events import Event, RolledBack
from nima_cli.loggers.figures import FiguresLogger, draw_figure
from nima_cli.loggers.jsonl import metrics_row
from tests import recorded_run as run


def rows(*events: Event) -> list[dict[str, Any]]:
    return [row for event in events if (row := metrics_row(event)) is not None]


RUN = rows(*run.whole_run())


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def svg_texts(path: Path) -> str:
    """The labels of an SVG, which matplotlib writes as comments beside the glyphs."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", path.read_text("utf-8")))


def test_the_figures_of_a_run(tmp_path: Path) -> None:
    logger = FiguresLogger(tmp_path / "plots")
    for event in run.whole_run():
        logger(event)
    logger.close()
    assert {path.name: png_size(path) for path in (tmp_path / "plots").iterdir()} == {
        "loss.png": (1200, 750),
        "perplexity.png": (1200, 750),
        "learning_rate.png": (1200, 750),
    }


class Clock:
    """Seconds that move on by themselves at every reading, and as far as a test wants."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_redrawing_takes_half_a_percent_of_the_time_at_most_but_the_end_is_always_drawn(tmp_path: Path) -> None:
    clock = Clock()
    logger = FiguresLogger(tmp_path, clock=clock)
    loss = tmp_path / "loss.png"

    def redrawn(event: Event) -> bool:
        loss.unlink(missing_ok=True)
        logger(event)
        return loss.exists()

    logger(run.step(10))
    assert redrawn(run.evaluation(10))
    assert not redrawn(run.evaluation(20))
    clock.now += 1.0 / 0.005
    assert redrawn(run.evaluation(30))
    assert not redrawn(run.step(40))
    assert redrawn(run.ended(40))


def test_a_resumed_run_draws_what_came_before(tmp_path: Path) -> None:
    for name, earlier in (("fresh", []), ("resumed", RUN)):
        logger = FiguresLogger(tmp_path / name, rows=earlier)
        logger(run.step(110))
        logger(run.ended(110))
    assert (tmp_path / "fresh" / "loss.png").read_bytes() != (tmp_path / "resumed" / "loss.png").read_bytes()


def test_a_run_that_went_back_draws_each_step_once(tmp_path: Path) -> None:
    kept, given_up, again = run.step(10, 3.0), run.step(20, 9.0), run.step(20, 2.0)
    for name, events in (("straight", [kept, again]), ("back", [kept, given_up, RolledBack(10), again])):
        logger = FiguresLogger(tmp_path / name)
        for event in (*events, run.ended(20)):
            logger(event)
    assert (tmp_path / "straight" / "loss.png").read_bytes() == (tmp_path / "back" / "loss.png").read_bytes()


def test_a_run_without_a_finite_number_draws_what_it_can(tmp_path: Path) -> None:
    logger = FiguresLogger(tmp_path)
    logger(run.step(1, math.nan))
    logger(run.ended(1, "diverged"))
    assert [path.name for path in tmp_path.iterdir()] == ["learning_rate.png"]


def test_a_figure_names_its_axes_with_units_and_its_curves(tmp_path: Path) -> None:
    draw_figure([("a", RUN), ("b", RUN)], ["bits_per_byte"], "time", 0.0, tmp_path / "f.svg")
    texts = svg_texts(tmp_path / "f.svg").splitlines()
    assert {"bits per byte", "training time (s)", "a val", "b val"} <= set(texts)


def test_names_of_runs_are_not_mathematics(tmp_path: Path) -> None:
    draw_figure([("_a $\\frac$ 日本", RUN), ("b", RUN)], ["loss"], "step", 0.0, tmp_path / "f.svg")
    assert "_a $\\frac$ 日本 train" in svg_texts(tmp_path / "f.svg")


def test_several_metrics_share_a_file(tmp_path: Path) -> None:
    draw_figure([("a", RUN)], ["loss", "accuracy"], "tokens", 0.3, tmp_path / "f.png")
    assert png_size(tmp_path / "f.png") == (1200, 1500)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_equal_curves_give_equal_files(suffix: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_figure([("x", RUN)], ["loss"], "step", 0.0, tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"f\.pdf: cannot draw") as failure:
        draw_figure([("a", RUN)], ["loss"], "step", 0.0, tmp_path / "f.pdf")
    assert failure.value.hint == "end the name in `.png` or `.svg`"
    assert not list(tmp_path.iterdir())


def test_the_state_machine_of_matplotlib_is_left_alone(tmp_path: Path) -> None:
    draw_figure([("a", RUN)], ["loss"], "step", 0.0, tmp_path / "f.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
