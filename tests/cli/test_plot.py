"""`nima plot`: pictures in files and in the terminal, and what it refuses."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, refused


def test_the_terminal_picture_is_plain_text_in_a_pipe(tiny_run: TinyRun, nima: Nima) -> None:
    ran = nima("plot", tiny_run.run_dir, "--metric", "loss", "learning_rate")
    assert (ran.code, ran.stderr) == (0, "")
    assert "loss" in ran.stdout
    assert "learning rate" in ran.stdout
    assert ran.stdout.count("\n") > 40
    assert "\x1b" not in ran.stdout
    assert len(nima("plot", tiny_run.run_dir).stdout) < len(ran.stdout)


def test_files_are_drawn_by_their_ending(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    png, svg = tmp_path / "curves [1].png", tmp_path / "kürven.svg"
    assert nima("plot", tiny_run.run_dir, "--output", png).stderr == f"drew {png}\n"
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    quiet = nima("plot", tiny_run.run_dir, tiny_run.run_dir, "--metric", "perplexity", "--output", svg, "--quiet")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert sorted(tmp_path.iterdir()) == sorted([png, svg])


def test_axes_and_smoothing_change_the_picture(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    drawn = {}
    for flags in ((), ("--x", "tokens"), ("--x", "time"), ("--smooth", "0.9"), ("--metric", "accuracy")):
        path = tmp_path / "p.svg"
        assert nima("plot", tiny_run.run_dir, "--output", path, *flags).code == 0
        drawn[flags] = path.read_bytes()
    assert len(set(drawn.values())) == 5


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--metric", "lss"), "`lss`: no such metric"),
        (("--x", "weight"), "`--x weight`"),
        (("--smooth", "1"), "`smooth` 1"),
        (("--output", "picture.bmp"), "picture.bmp"),
        (("--smooth", "much"), "--smooth"),
    ],
)
def test_bad_flags_are_one_line(
    flags: tuple[str, ...], said: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    assert said in refused(nima("plot", tiny_run.run_dir, *flags, cwd=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_refused(nima: Nima, tmp_path: Path) -> None:
    assert "it has no `metrics.jsonl`" in refused(nima("plot", tmp_path), 2)
    assert "nowhere" in refused(nima("plot", tmp_path / "nowhere"), 2)
    (tmp_path / "metrics.jsonl").write_text("{}\nnot json\n{}\n")
    assert "metrics.jsonl:2" in refused(nima("plot", tmp_path), 2)
