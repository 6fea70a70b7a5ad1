"""Compiles `decode.cpp` once for each machine and keeps the result; knows neither models nor Python's side of it."""

import contextlib
import hashlib
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).with_name("decode.cpp")
_COMPILERS = ("c++", "g++", "clang++")
_ALWAYS = ("-std=c++17", "-O3", "-shared", "-fPIC")
# From the fastest program to the one that every compiler can make.
_CHOICES = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-mcpu=native",), ())
_PATIENCE = 60.0  # seconds
_ONE_AT_A_TIME = threading.Lock()


def library(folder: Path) -> Path | None:
    """The compiled program, made if `folder` does not hold it yet; None where it cannot be had.

    A file is named by all that it depends on, the source, the compiler and the processor, and by what is in it. So a
    folder that several machines share holds one for each kind of them, and a damaged file, which could end the process
    that loads it, is seen and made anew. Threads of one process wait for the first of them.
    """
    with _ONE_AT_A_TIME:
        return _library(folder)


def _library(folder: Path) -> Path | None:
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return None
    name = f"decode-{_fingerprint(compiler)}"
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{name}-*.so"):
            if path.stem == f"{name}-{_digest(path)}":
                return path
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        return _compile(compiler, folder, name)
    return None


def _compile(compiler: str, folder: Path, name: str) -> Path | None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".compiling-") as work:
        made = Path(work) / "decode.so"
        for flags in _CHOICES:
            if _run([compiler, *_ALWAYS, *flags, "-o", str(made), str(SOURCE)]) is not None:
                return made.replace(folder / f"{name}-{_digest(made)}.so")
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _fingerprint(compiler: str) -> str:
    found = hashlib.sha256(SOURCE.read_bytes())
    for part in (compiler, _run([compiler, "--version"]) or "", platform.machine(), *_processor(), *map(str, _CHOICES)):
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
