"""`nima plot`: pictures in files and in the terminal, and what it refuses."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, environment, refused

if sys.platform != "win32":
    from tests.terminal import run_on_terminal


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
        (("--x", "weight"), "--x weight: expected one of `step`, `tokens`, `time`"),
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


def test_runs_in_folders_of_one_name_have_labels_of_their_own(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    runs = []
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
        runs.append(tiny_run.copy(tmp_path / name).rename(tmp_path / name / "run"))
    ran = nima("plot", *runs)
    assert "small/run train" in ran.stdout
    assert "large/run train" in ran.stdout
    nima("plot", *runs, "--output", tmp_path / "p.svg")
    nima("plot", *runs, *runs, "--output", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "p.svg").read_bytes()


def test_a_stdout_without_box_characters_gets_ascii(tiny_run: TinyRun, tmp_path: Path) -> None:
    env = {**environment(tmp_path), "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "nima_cli", "plot", str(tiny_run.run_dir)]
    done = subprocess.run(command, env=env, capture_output=True, timeout=60, check=True)
    drawn = done.stdout.decode("cp1252")
    assert "+---" in drawn
    assert "\\u" not in drawn


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_title_stays_on_a_terminal_of_24_rows(tiny_run: TinyRun, tmp_path: Path) -> None:
    size = "import fcntl, struct, termios\nfcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))\n"
    code = (
        f"import sys\nsys.argv = {['nima', 'plot', str(tiny_run.run_dir)]!r}\nfrom nima_cli.cli.app import main\nmain()"
    )
    status, shown = run_on_terminal(size + code, env={"NIMA_HOME": str(tmp_path)})
    assert status == 0
    assert "loss (nats per token)" in shown.splitlines()[0]
    assert shown.count("\n") <= 22
