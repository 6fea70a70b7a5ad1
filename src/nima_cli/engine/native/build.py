"""Compiles C++ once for each machine and keeps the result; knows neither models nor Python's side of it."""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_COMPILERS = ("c++", "g++", "clang++")
_ALWAYS = ("-std=c++17", "-O3", "-fPIC")
_PATIENCE = 60.0  # seconds
_ONE_AT_A_TIME: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclass(frozen=True, slots=True)
class Program:
    """What is compiled together.

    Attributes:
        name: the compiled file's begins with it.
        folder: its sources, `*.cpp`, and what they include, `*.h`.
        choices: flags to try, from the fastest program to the one that every compiler can make.
        platform: the only `sys.platform` that it is for; empty means any.
    """

    name: str
    folder: Path
    choices: tuple[tuple[str, ...], ...]
    platform: str = ""

    @property
    def sources(self) -> list[Path]:
        """What the compiler is given."""
        return sorted(self.folder.glob("*.cpp"))

    @property
    def files(self) -> list[Path]:
        """What the result depends on."""
        return sorted([*self.sources, *self.folder.glob("*.h")])


def library(program: Program, folder: Path) -> Path | None:
    """The compiled program, made if `folder` does not hold it yet; None where it cannot be had.

    A file is named by all that it depends on, the source, the compiler, its flags and the processor, and by what is in
    it. So a folder that several machines share holds one for each kind of them, and a damaged file, which could end the
    process that loads it, is seen and made anew. Threads of one process wait for the first of them.
    """
    if program.platform not in ("", sys.platform):
        return None
    with _ONE_AT_A_TIME[program.name]:
        return _library(program, folder)


def _library(program: Program, folder: Path) -> Path | None:
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return None
    name = f"{program.name}-{_fingerprint(program, compiler)}"
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{name}-*.so"):
            if path.stem == f"{name}-{_digest(path)}":
                return path
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        return _compile(program, compiler, folder / name)
    return None


def _compile(program: Program, compiler: str, target: Path) -> Path | None:
    """Each source by a process of its own, as many at a time as there are processors: a user waits for it."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compiling-") as work:
        made = Path(work) / "made.so"
        for flags in program.choices:
            command = [compiler, *_ALWAYS, *flags]
            objects = {source: str(Path(work) / f"{source.stem}.o") for source in program.sources}
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                parts = [[*command, "-c", str(source), "-o", to] for source, to in objects.items()]
                compiled = None not in pool.map(_run, parts)
            if compiled and _run([*command, "-shared", *objects.values(), "-o", str(made)]) is not None:
                return made.replace(target.with_name(f"{target.name}-{_digest(made)}.so"))
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _fingerprint(program: Program, compiler: str) -> str:
    version = _run([compiler, "--version"]) or ""
    found = hashlib.sha256()
    for file in program.files:
        found.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    for part in (compiler, version, platform.machine(), *_processor(), *_ALWAYS, *map(str, program.choices)):
        found.update(part.encode() + b"\0")
    return found.hexdigest()[:16]


def _processor() -> Iterator[str]:
    """What tells one kind of processor from another; elsewhere than on Linux, its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags", "Features", "CPU part")
    yield from sorted({line for line in lines if line.startswith(wanted)})
    yield platform.processor()


def _run(command: list[str]) -> str | None:
    """What a command prints, or None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
