"""The program as tests run it: in this process where that is enough, in one of its own where signals count."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import Ran

# 43,232 parameters; 19 steps make an epoch of the tiny dataset.
CONFIG = """\
model:
  preset: null
  n_layers: 2
  d_model: 32
  n_heads: 2
  context_length: 32
training:
  epochs: 50
  max_steps: 12
  batch_size: 4
  gradient_accumulation_steps: 2
  learning_rate: 0.01
  use_mixed_precision: false
  eval_steps: 6
  log_steps: 1
evaluation:
  generation:
    prompts: [The]
    max_length: 8
hardware:
  device: cpu
"""

# Typer takes each of these as a sign of a terminal.
_HARMFUL = ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "NO_COLOR", "COLUMNS", "TERM")


class Nima(Protocol):
    """`nima` with these arguments, in this process."""

    def __call__(
        self, *args: str | Path, stdin: bytes = b"", cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Ran: ...


def environment(home: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would leak into the program."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NIMA_") and key not in _HARMFUL}
    return {**kept, "NIMA_HOME": str(home), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", **(env or {})}


def in_this_process(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    args: tuple[str | Path, ...],
    *,
    stdin: bytes,
    cwd: Path | None,
    env: Mapping[str, str] | None,
) -> Ran:
    """Call the program's entry point with streams, arguments and environment of its own."""
    from nima_cli.cli.app import main

    streams = {"stdin": io.BytesIO(stdin), "stdout": io.BytesIO(), "stderr": io.BytesIO()}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", environment(home, env))
        patch.setattr(sys, "argv", ["nima", *map(str, args)])
        wrapped = {
            name: io.TextIOWrapper(buffer, encoding="utf-8", newline="", write_through=True)
            for name, buffer in streams.items()
        }
        for name, stream in wrapped.items():
            patch.setattr(sys, name, stream)
        if cwd is not None:
            patch.chdir(cwd)
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Ran(code, streams["stdout"].getvalue().decode(), streams["stderr"].getvalue().decode())


def start(
    args: tuple[str | Path, ...],
    home: Path,
    *,
    cwd: Path | None = None,
    stdout: int = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """A process of the program whose stderr is a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "nima_cli", *map(str, args)],
        env=environment(home, env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def wait_for(happened: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait until it has happened.

    Raises:
        TimeoutError: it did not.
    """
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.05)


def refused(ran: Ran, code: int) -> str:
    """The one error line of a refusal, which prints nothing else that matters."""
    assert ran.code == code, ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ran.stderr
    return lines[0]


def rows(run_dir: Path, event: str | None = None) -> list[dict[str, object]]:
    """Rows of `metrics.jsonl`, read strictly."""
    import json

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (run_dir / "metrics.jsonl").read_text("utf-8")
    found = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    return [row for row in found if event is None or row["event"] == event]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
