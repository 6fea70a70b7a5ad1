"""Runs programs against each other, in turns, so that whatever else the machine does hits all of them alike.

Each contender is a process that sets itself up, says so, and then works only when it is told to; see `peers/turns.py`.
While one works the others wait on a pipe and take no processor.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PEERS = Path(__file__).resolve().parent / "peers"


@dataclass
class Result:
    """What a contender's turns took, in seconds.

    Attributes:
        first: from the start of the process to the end of its first turn: imports, set-up, compiling, warming up.
        turns: every later one.
        peak: bytes of memory that its process held at most, 0 where the system does not say.
    """

    first: float
    turns: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def median(self) -> float:
        """Of the turns."""
        return statistics.median(self.turns)


def at_best(work: Callable[[], object], times: int = 7) -> float:
    """Seconds of the fastest of several times: what the machine can do, not what it did."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


class Contender:
    """One running program.

    Args:
        script: a file of `peers/`, in Python or for Node.
        arguments: its command line.
        threads: that it may compute with.
    """

    def __init__(self, script: str, arguments: Sequence[str], *, threads: int) -> None:
        program = "node" if script.endswith(".mjs") else sys.executable
        self._command = [program, str(PEERS / script), *arguments]
        self._threads = threads
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def begin(self) -> Result:
        """Start it, wait until it is set up, and let it take its first turn, which counts as setting up."""
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, "OMP_NUM_THREADS": str(self._threads), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not os.environ.get("NIMA_BENCH_VERBOSE") else None,
            text=True,
        )
        self._read()
        self.turn()
        return Result(time.perf_counter() - began)

    def turn(self) -> float:
        """Let it work once; returns the seconds that it says it took."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def peak(self) -> int:
        """Bytes of memory that its process held at most so far (Linux), or 0."""
        assert self._process is not None
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def _read(self) -> float:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate()
            sys.exit(f"{' '.join(self._command)}: ended\n{(errors or '')[-2000:]}")
        return float(line)


def race(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Result]:
    """Let each contender set itself up, alone, and then all of them take `rounds` turns one after the other."""
    results = {name: contender.begin() for name, contender in contenders.items()}
    for _ in range(rounds):
        for name, contender in contenders.items():
            results[name].turns.append(contender.turn())
    for name, contender in contenders.items():
        results[name].peak = contender.peak()
    return results
