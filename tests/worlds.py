"""Worlds of several training processes, for tests: started as torchrun or Slurm would, signalled, waited for."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cli.programs import environment

SECONDS = 60.0  # within which all processes must end when one has failed


@dataclass(frozen=True)
class Ended:
    """How one process ended: its exit code, negative for a signal, None when it had to be ended; and what it left."""

    code: int | None
    stdout: str
    stderr: str
    written: str


@dataclass(frozen=True)
class World:
    """Processes that train together."""

    worlds: "Worlds"
    pids: list[int]
    folder: Path

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one process, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[rank], number)

    def wait(self, seconds: float = SECONDS) -> list[Ended]:
        """How each ended, within `seconds`."""
        codes = self.worlds.ask({"pids": self.pids, "seconds": seconds})
        return [
            Ended(code, *(self._read(name, rank) for name in ("stdout", "stderr", "written")))
            for rank, code in enumerate(codes)
        ]

    def _read(self, name: str, rank: int) -> str:
        path = self.folder / f"{name}.{rank}"
        return path.read_text("utf-8") if path.exists() else ""


class Worlds:
    """The process that worlds are forked from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.world_server"],
            env=environment(folder / "home"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )

    def __enter__(self) -> "Worlds":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=SECONDS)
        self.process.stdout.close()

    def ask(self, request: dict[str, Any]) -> Any:
        """The server's answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        environs: Sequence[Mapping[str, str]],
        args: Sequence[str | Path],
        *,
        cwd: Path,
        stop_at_save: int = 0,
    ) -> World:
        """One process in each environment.

        Args:
            environs: what each finds in its environment.
            args: of `nima`; or `module:function` and its arguments, to be called instead.
            cwd: where they run.
            stop_at_save: the save of the last checkpoint, counted from 1, during which each gets SIGTERM; 0 is none.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        request = {
            "environs": [dict(environ) for environ in environs],
            "args": [str(argument) for argument in args],
            "folder": str(folder),
            "cwd": str(cwd),
            "stop_at_save": stop_at_save,
        }
        return World(self, self.ask(request), folder)


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


def free_port() -> int:
    """A port that nobody listens on, a moment ago."""
    with taken_port() as port:
        return port


def torch_world(size: int, *, port: int | None = None, claimed: int | None = None) -> list[dict[str, str]]:
    """What torchrun would say to `size` processes on one machine; `claimed` is a wrong number to tell them."""
    if size == 1 and claimed is None:
        return [{}]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port or free_port()), "GLOO_SOCKET_IFNAME": "lo"}
    numbers = {"WORLD_SIZE": str(claimed or size), "LOCAL_WORLD_SIZE": str(claimed or size)}
    return [{**address, **numbers, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def slurm_world(size: int, job: int) -> list[dict[str, str]]:
    """What srun would say to `size` tasks on one node."""
    shared = {
        "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost", "SLURM_NODEID": "0",
        "SLURM_STEP_NUM_TASKS": str(size), "SLURM_STEP_TASKS_PER_NODE": str(size), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    return [{**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(size)]
