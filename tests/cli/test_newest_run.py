"""Which run is meant when none is named, for every command that takes one; and two starts at the same moment."""

import subprocess
import sys
from pathlib import Path

import pytest

from nima_cli.cli import rundir
from tests.cli.conftest import TinyRun
from tests.cli.programs import CONFIG, Nima, refused


@pytest.fixture
def two_runs(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """A folder with the runs `old` and `new`, of which the second began later."""
    for name in ("old", "new"):
        tiny_run.copy(tmp_path).rename(tmp_path / name)
    (tmp_path / "experiments").mkdir()
    for name in ("old", "new"):
        (tmp_path / name).rename(tmp_path / "experiments" / name)
    (tmp_path / "experiments" / ".last").write_text("new\n", "utf-8")
    return tmp_path


COMMANDS: dict[str, tuple[str, ...]] = {
    "generate": ("generate", "--prompt", "The", "--max-new-tokens", "2"),
    "chat": ("chat", "--once", "hello", "--max-new-tokens", "2"),
    "eval": ("eval", "--split", "val"),
    "plot": ("plot",),
    "export": ("export", "--format", "safetensors", "--output", "model.safetensors"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_newest_run_is_taken_and_named(command: str, two_runs: Path, tiny_run: TinyRun, nima: Nima) -> None:
    data = ("--data", str(tiny_run.data)) if command == "eval" else ()
    ran = nima(*COMMANDS[command], *data, cwd=two_runs)
    assert ran.code == 0, ran.stderr
    assert ran.stderr.splitlines()[0].endswith("taking the newest run, experiments/new")
    assert "taking" not in nima(*COMMANDS[command], *data, "--quiet", cwd=two_runs).stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_without_any_run_it_is_one_line(command: str, tmp_path: Path, nima: Nima) -> None:
    assert "there is no run under `experiments/`" in refused(nima(*COMMANDS[command], cwd=tmp_path), 2)


def test_without_a_note_of_the_last_run_only_a_single_one_is_meant(two_runs: Path, nima: Nima) -> None:
    (two_runs / "experiments" / ".last").unlink()
    line = refused(nima("plot", cwd=two_runs), 2)
    assert "holds 2 runs and nothing says which is the newest: new, old" in line
    (two_runs / "experiments" / "old").rename(two_runs / "elsewhere")
    assert "newest run, experiments/new" in nima("plot", cwd=two_runs).stderr


def test_a_note_of_a_run_that_is_gone_is_no_note(two_runs: Path, nima: Nima) -> None:
    (two_runs / "experiments" / ".last").write_text("removed\n", "utf-8")
    assert "which is the newest" in refused(nima("plot", cwd=two_runs), 2)


def test_a_checkpoint_may_be_named_without_the_flag(tiny_run: TinyRun, nima: Nima) -> None:
    flags = ("--prompt", "The", "--max-new-tokens", "3")
    named = nima("generate", "--checkpoint", tiny_run.run_dir, *flags)
    assert nima("generate", tiny_run.run_dir, *flags).stdout == named.stdout != ""
    twice = nima("generate", "a.pt", "--checkpoint", "b.pt", *flags)
    assert "named twice: a.pt and b.pt" in refused(twice, 2)


def test_a_run_that_training_made_is_the_newest(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    """However the folder `experiments` is spelled."""
    for output in (tmp_path / "experiments" / "first", Path("experiments/second")):
        ran = nima(
            "train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", output, "--max-steps", "1",
            cwd=tmp_path,
        )  # fmt: skip
        assert ran.code == 0, ran.stderr
        assert f"newest run, experiments/{output.name}" in nima("plot", cwd=tmp_path).stderr


def test_starts_at_the_same_moment_get_a_directory_each(tmp_path: Path) -> None:
    code = "from nima_cli.cli.rundir import new_run_dir; input(); print(new_run_dir(None, 'x'))"
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("\n")
        start.stdin.flush()
    found = {start.communicate(timeout=60)[0].strip() for start in starts}
    assert found == {"experiments/x", "experiments/x-2", "experiments/x-3", "experiments/x-4"}


def test_a_start_that_is_refused_leaves_no_directory(nima: Nima, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG, "utf-8")
    refused(nima("train", "-c", "c.yaml", "--data", "nowhere", cwd=tmp_path), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_giving_back_leaves_a_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begun, dropped = (rundir.new_run_dir(None, name) for name in ("begun", "dropped"))
    (begun / "metrics.jsonl").touch()
    rundir.give_back()
    assert (begun / "metrics.jsonl").exists()
    assert not dropped.exists()
