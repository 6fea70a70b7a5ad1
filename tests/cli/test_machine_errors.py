"""What the machine refuses outside any file of ours: one line and exit code 4 (or 2), never a bug of nima."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import environment

pytestmark = [
    pytest.mark.program,
    pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and its redirections"),
]

GENERATE = ("generate", "--prompt", "The", "--max-new-tokens", "3")


Done = subprocess.CompletedProcess[str]


def in_a_shell(
    arguments: tuple[str | Path, ...], how: str, home: Path, **env: str
) -> "subprocess.CompletedProcess[str]":
    """The program with redirections, or under another program before it (`{}` stands for its command line)."""
    line = how.format('"$@"') if "{}" in how else f'"$@" {how}'
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "nima_cli", *map(str, arguments)]
    return subprocess.run(
        command, env={**environment(home), **env}, capture_output=True, text=True, timeout=120, check=False
    )


def one_line(done: Done, code: int) -> str:
    """The error line of a refusal by the machine."""
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "bug in nima" not in done.stderr
    return errors[0]


@pytest.mark.torch
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["generate", "plot", "help", "json"])
def test_a_full_disk_behind_stdout(command: str, tiny_run: TinyRun, tmp_path: Path) -> None:
    arguments: dict[str, tuple[str | Path, ...]] = {
        "generate": (*GENERATE, "--checkpoint", tiny_run.run_dir),
        "json": (*GENERATE, "--checkpoint", tiny_run.run_dir, "--json"),
        "plot": ("plot", tiny_run.run_dir),
        "help": ("train", "--help"),
    }
    assert "no space left" in one_line(in_a_shell(arguments[command], ">/dev/full", tmp_path), 4)


@pytest.mark.torch
@pytest.mark.parametrize("command", ["plot", "generate", "inspect"])
def test_a_closed_stdout(command: str, tiny_run: TinyRun, tmp_path: Path) -> None:
    arguments: dict[str, tuple[str | Path, ...]] = {
        "plot": ("plot", tiny_run.run_dir),
        "generate": (*GENERATE, "--checkpoint", tiny_run.run_dir),
        "inspect": ("data", "inspect", tiny_run.data),
    }
    done = in_a_shell(arguments[command], ">&-", tmp_path)
    assert one_line(done, 4) == "error: stdout: cannot write: it is closed"


def test_a_closed_stdin(tmp_path: Path) -> None:
    done = in_a_shell(("data", "prepare", "--output-dir", tmp_path / "d", "--text-files", "-"), "<&-", tmp_path)
    assert one_line(done, 2) == "error: standard input: cannot read: it is closed"


def test_a_completion_that_cannot_be_installed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = {"HOME": str(tmp_path / "file"), "SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    line = one_line(in_a_shell(("--install-completion", "bash"), "", tmp_path / "home", **env), 4)
    assert str(tmp_path / "file") in line


def test_no_room_for_standard_input(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full folder of temporary ones."""
    limit = "ulimit -f 1; trap '' XFSZ; head -c 5000000 /dev/zero | tr '\\0' 'a' | {}"
    done = in_a_shell(("data", "prepare", "--output-dir", tmp_path / "d", "--text-files", "-"), limit, tmp_path)
    assert "standard input: cannot keep it in a temporary file" in one_line(done, 4)
    assert "TMPDIR" in done.stderr


def test_a_home_of_a_user_that_there_is_not(tiny_run: TinyRun, tmp_path: Path) -> None:
    done = in_a_shell((*GENERATE, "--checkpoint", tiny_run.run_dir), "", tmp_path, NIMA_HOME="~nosuchuser/x")
    assert "NIMA_HOME: `~nosuchuser/x`: there is no such user" in one_line(done, 2)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)
def test_a_user_without_any_home(tmp_path: Path) -> None:
    """A container that runs as a number which /etc/passwd does not know."""
    user = "setpriv --reuid=54321 --regid=54321 --clear-groups"
    bare = f"env -u HOME -u USER -u LOGNAME -u NIMA_HOME {user} {{}}"
    done = in_a_shell((*GENERATE, "--checkpoint", "x.pt"), bare, tmp_path)
    if "Permission denied" in done.stderr:
        pytest.skip("that user cannot read this Python")
    assert "this user has no home folder" in one_line(done, 4)
    assert "NIMA_HOME" in done.stderr
