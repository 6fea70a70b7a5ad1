"""What training shows: lines in a pipe, a live picture on a terminal, warnings only when quiet."""

import dataclasses
import io
import math
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from nima_cli.events import Event, Note, Progress
from nima_cli.ui.train_state import TrainState
from nima_cli.ui.train_view import LiveTrainView, picture, train_view
from tests import recorded_run as run

if sys.platform != "win32":
    from tests.terminal import run_on_terminal


class Clock:
    """A clock that moves one second per reading, or stands still."""

    def __init__(self, *, tick: float) -> None:
        self.now = 0.0
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def shown_in_a_pipe(events: list[Event], capsys: pytest.CaptureFixture[str], *, tick: float) -> list[str]:
    view = train_view(quiet=False, clock=Clock(tick=tick))
    for event in events:
        view(event)
    view.close()
    said = capsys.readouterr()
    assert said.out == ""
    assert "\x1b" not in said.err
    assert "\r" not in said.err
    return said.err.splitlines()


def state_after(events: list[Event]) -> TrainState:
    state = TrainState()
    for event in events:
        state.take(event)
    return state


def screen(state: TrainState, *, width: int, height: int, now: float = 0.0) -> list[str]:
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=width, height=height, legacy_windows=False
    )
    with console.capture() as capture:
        console.print(picture(state, console, now))
    return capture.get().splitlines()


def test_the_lines_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown_in_a_pipe(list(run.whole_run(steps=20)), capsys, tick=10)
    assert lines == [
        "run experiments/docs: gpt-tiny, 4.6M parameters, 12.3M training tokens, 20 steps of 4.1k tokens, "
        "cpu bfloat16, compiled kernels, seed 42",
        "data data/docs (k8s 90.0%, faq 10.0%)",
        "step 10/20  epoch 0.20  loss 6.299  perplexity 544  lr 5.7e-03  grad norm 0.75  4.1k tokens/s  "
        "elapsed 10s  eta 10s",
        "step 20/20  epoch 0.40  loss 5.081  perplexity 161  lr 5.4e-03  grad norm 0.75  4.1k tokens/s  "
        "elapsed 20s  eta 0s",
        "eval 20  val loss 5.181  perplexity 178  2.072 bits/byte  accuracy 31.3%  best so far",
        "sample 20  The module",
        "  |  is a `Pod`.",
        "done at step 20; best val loss 3.100 at step 20",
        "hint: measure it with `nima eval --checkpoint experiments/docs`, "
        "talk to it with `nima chat --checkpoint experiments/docs`",
    ]


def test_an_interrupted_run_says_how_to_go_on_in_words_that_a_shell_reads(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown_in_a_pipe([run.started(Path("my runs/a")), run.ended(7, "interrupted")], capsys, tick=1)
    assert lines[-1] == "hint: go on with `nima train --resume 'my runs/a'`"


def test_before_the_first_figures_there_are_signs_of_life(capsys: pytest.CaptureFixture[str]) -> None:
    """Figures come every `log_steps` steps; steps may take minutes."""
    steps = [Progress("training", number, 100, "steps") for number in range(1, 10)]
    lines = shown_in_a_pipe([run.started(), *steps], capsys, tick=3)
    assert lines[2:] == [f"step {number}/100  first figures at step 10" for number in (2, 4, 6, 8)]


def test_the_picture_shows_time_and_steps_before_the_first_figures() -> None:
    state = TrainState()
    state.take(run.started(), 100.0)
    assert "starting · elapsed 2s · ETA -" in "\n".join(screen(state, width=80, height=24, now=102.0))
    for number in (1, 2, 3):
        state.take(Progress("training", number, 100, "steps"), 100.0 + 10 * number)
    shown = "\n".join(screen(state, width=80, height=24, now=131.0))
    assert "3/100" in shown
    assert "first figures at step 10 · elapsed 31s · ETA 16m58s" in shown


def test_elapsed_time_is_that_of_the_run_over_all_resumes() -> None:
    state = TrainState()
    state.take(run.started(first_step=51), 0.0)
    state.take(run.step(60, elapsed=5000.0), 10.0)
    assert state.elapsed(12.0) == 5002.0


def test_epochs_have_two_decimals_however_short_the_run() -> None:
    state = TrainState()
    state.take(dataclasses.replace(run.started(), total_epochs=0.0865))
    state.take(run.step(50))
    assert "epoch 0.04/0.09" in "\n".join(screen(state, width=80, height=24))


def test_a_line_names_the_largest_sources_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    many = tuple((f"s{number}", number / 21) for number in range(1, 7))
    (_, line) = shown_in_a_pipe([dataclasses.replace(run.started(), sources=many)], capsys, tick=1)
    assert line == "data data/docs (s6 28.6%, s5 23.8%, s4 19.0%, s3 14.3%, 2 more)"


def test_step_lines_are_seconds_apart_but_the_last_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = [run.started(), *(run.step(number) for number in range(1, 101))]
    steps = [line.split()[1] for line in shown_in_a_pipe(events, capsys, tick=0.5) if line.startswith("step")]
    assert steps == ["1/100", *(f"{number}/100" for number in range(11, 101, 10)), "100/100"]


def test_every_evaluation_sample_and_note_is_a_line_however_fast(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown_in_a_pipe(list(run.whole_run()), capsys, tick=0.0)
    assert [line.split()[1] for line in lines if line.startswith("eval")] == ["20", "40", "60", "80", "100"]
    assert sum(line.startswith("sample") for line in lines) == 5
    assert "warning: half of the run is over" in lines


def test_a_resumed_run_says_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert "goes on at step 61" in shown_in_a_pipe([run.started(first_step=61)], capsys, tick=1)


def test_foreign_text_is_neither_markup_nor_control(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown_in_a_pipe([run.started(Path("a[/b]")), run.sample(1, "[/x]\x1b[2J\nb", "p\x9b")], capsys, tick=1)
    assert lines[0].startswith("run a[/b]: ")
    assert lines[2:] == ["sample 1  p\\x9b", "  | [/x]\\x1b[2J", "  | b"]


@pytest.mark.parametrize(
    ("reason", "start"),
    [
        ("early_stopped", "stopped early, validation no longer improves at step 7"),
        ("interrupted", "interrupted at step 7"),
        ("diverged", "diverged at step 7"),
    ],
)
def test_the_last_line_says_why(reason: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown_in_a_pipe([run.ended(7, reason, best_loss=math.inf)], capsys, tick=1) == [start]


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    view = train_view(quiet=True)
    for event in [*run.whole_run(), Note("info", "not this")]:
        view(event)
    view.close()
    assert capsys.readouterr().err == "warning: half of the run is over\n"


def test_eta_comes_from_the_pace_of_this_process_alone() -> None:
    events: list[Event] = [
        run.started(first_step=51),
        run.step(60, elapsed=5000.0),
        run.step(70, elapsed=5020.0),
    ]
    assert state_after(events).eta() == pytest.approx(30 * 2.0)
    assert state_after(events[:2]).eta() == pytest.approx(40 * 4096 / 4096.0)
    assert state_after(events[:1]).eta() == math.inf


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_picture_fits_the_terminal(width: int) -> None:
    state = state_after([*run.whole_run(Path("experiments/" + "long-name-" * 9)), run.sample(100, "word " * 99)])
    lines = screen(state, width=width, height=24)
    assert max(len(line.rstrip()) for line in lines) <= width
    assert len(lines) <= 24 or width == 40
    text = "\n".join(lines)
    for part in ("gpt-tiny, 4.6M parameters", "2.314", "100/100", "val loss 2.314", "grad norm 0.75", "ETA 0s"):
        assert part in text


def test_the_picture_marks_the_best_evaluation_only() -> None:
    lines = screen(state_after(list(run.whole_run())), width=100, height=40)
    assert [line.split()[0] for line in lines if line.rstrip().endswith("  best")] == ["60"]
    assert next(line.split() for line in lines if line.lstrip().startswith("60 ")) == [
        "60", "1.20", "2.812", "2.912", "18.39", "1.165", "31.3%", "best",
    ]  # fmt: skip


def test_a_short_terminal_shows_fewer_evaluations() -> None:
    events: list[Event] = [run.started(), run.step(1), *(run.evaluation(number) for number in range(1, 21))]
    rows = {
        height: sum(line.rstrip().endswith("31.3%") or line.rstrip().endswith("best") for line in lines)
        for height in (10, 22, 60)
        for lines in [screen(state_after(events), width=100, height=height)]
    }
    assert rows == {10: 2, 22: 5, 60: 8}


def test_the_live_display_draws_at_most_ten_times_a_second() -> None:
    def written(tick: float) -> int:
        console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
        view = LiveTrainView(console, clock=Clock(tick=tick))
        view(run.started(total_steps=200))
        for number in range(1, 200):
            view(run.step(number))
        view.close()
        return str(console.file.getvalue()).count("epoch")  # type: ignore[attr-defined]

    assert written(tick=1.0) > 180
    assert written(tick=0.005) < 15


LIVE = """
from tests import recorded_run as run
from nima_cli.ui.train_view import train_view
view = train_view(quiet=False)
for event in [*run.whole_run(), run.evaluation(100, 2.5, split="test")]:
    view(event)
view.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_it_is_live_and_gives_the_cursor_back() -> None:
    status, output = run_on_terminal(LIVE)
    assert status == 0
    assert output.index("\x1b[?25l") < output.index("nima train") < output.rindex("\x1b[?25h")
    after = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output[output.rindex("\x1b[?25h") :])
    assert [line.strip() for line in after.splitlines() if line.strip()] == [
        "done at step 100; best val loss 3.100 at step 100",
        "hint: measure it with `nima eval --checkpoint experiments/docs`, "
        "talk to it with `nima chat --checkpoint experiments/docs`",
        "eval 100  test loss 2.500  perplexity 12.18  1.000 bits/byte  accuracy 31.3%  best so far",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_on_a_terminal_without_colour_there_are_only_lines(env: dict[str, str]) -> None:
    status, output = run_on_terminal(LIVE, env=env)
    assert status == 0
    assert "\x1b" not in output
    assert "\r" not in output.replace("\r\n", "\n")
    assert "step 100/100" in output


def test_a_pipe_gets_one_short_sample_of_each_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    walls = [run.sample(step, "same words " * 200, prompt) for step in (5, 10) for prompt in ("One", "Two", "Three")]
    lines = shown_in_a_pipe([run.started(), *walls], capsys, tick=1)
    assert [line for line in lines if line.startswith("sample")] == ["sample 5  One", "sample 10  One"]
    assert sum(map(len, lines)) < 1000
    assert lines[-1] == "  | …"
    shown_lines = shown_in_a_pipe([run.started(), run.sample(5, "\n".join("abcdefgh"))], capsys, tick=1)
    assert shown_lines[-5:] == ["  | a", "  | b", "  | c", "  | d", "  | …"]
