"""Compiles C++ once for each machine and keeps the result; does not import torch."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nima_cli.errors import DeviceError, ResourceError
from nima_cli.files import write_text

_COMPILERS = ("c++", "g++", "clang++")
# The C++ reads rows of 16-bit numbers as words, hence no strict aliasing.
_ALWAYS: tuple[str, ...] = ("-std=c++17", "-O3", "-fPIC", "-fno-strict-aliasing")
_PATIENCE = 60.0  # seconds for the compiler, which takes ten
_ONE_AT_A_TIME: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_REASON = 200  # characters of the compiler's message that are shown
_OTHERS_MAY_WRITE = 0o022
# What tells Macs apart, by Apple's names.
_OF_A_MAC = ("machdep.cpu.brand_string", "hw.machine", "hw.cputype", "hw.cpusubtype", "hw.cpufamily", "hw.optional")


class NoProgramError(DeviceError):
    """A compiled program cannot be had on this machine; its user goes on without."""


# By target, so that a process waits for a failing compiler once.
_FAILED: dict[Path, NoProgramError] = {}


@dataclass(frozen=True, slots=True)
class Program:
    """Sources that are compiled together.

    Attributes:
        name: how the compiled file's name begins.
        folder: of the sources and their headers.
        names: of the sources, without `.cpp`.
        choices: flags to try, from the fastest program to the one that every compiler can make.
        platform: the only `sys.platform` that it is for; empty means any.
    """

    name: str
    folder: Path
    names: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    platform: str = ""

    @property
    def sources(self) -> list[Path]:
        """What the compiler is given."""
        return [self.folder / f"{name}.cpp" for name in self.names]

    @property
    def fits_platform(self) -> bool:
        """Whether it is for this system."""
        return self.platform in ("", sys.platform)


_FOLDER = Path(__file__).with_name("cpp")
_NO_ERRNO = "-fno-math-errno"

# For training. Not linked with OpenMP, see `cpp/threads.h`, which works on Linux only.
KERNELS = Program(
    "kernels",
    _FOLDER,
    ("attention", "integers", "loss", "norm", "packing", "pointwise", "quantize", "softmax"),
    (("-march=native", _NO_ERRNO), ("-mcpu=native", _NO_ERRNO), (_NO_ERRNO,)),
    platform="linux",
)
DECODER = Program(
    "decode",
    _FOLDER,
    ("decode",),
    (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-mcpu=native",), ()),
)


def library(program: Program, folder: Path, *, patience: float = _PATIENCE) -> Path:
    """Return the compiled program, made if `folder` does not hold it yet.

    The file's name has a hash of source, compiler, flags and processor, so that machines may share a folder, and one of
    its content, so that a damaged file is made again.

    Args:
        folder: of this user alone: its files are run, so that nobody else may write there.
        patience: seconds for the compiler.

    Raises:
        NoProgramError: it cannot be had; a log in the folder has the compiler's messages.
    """
    if not program.fits_platform:
        raise NoProgramError(f"it is for {program.platform} only")
    with _ONE_AT_A_TIME[program.name]:
        try:
            return _library(program, folder, time.monotonic() + patience)
        except OSError as error:
            reason = (error.strerror or "cannot be used").lower()
            raise NoProgramError(f"{error.filename or folder}: {reason}") from error


def _library(program: Program, folder: Path, until: float) -> Path:
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise NoProgramError(f"no C++ compiler ({', '.join(_COMPILERS)}) is installed", hint="install one, such as g++")
    _make_private(folder)
    name = f"{program.name}-{_fingerprint(program, compiler, until)}"
    for path in folder.glob(f"{name}-*.so"):
        if path.stem == f"{name}-{_digest(path)}":
            return path
        path.unlink()
    target = folder / name
    if (failed := _FAILED.get(target)) is not None:
        raise NoProgramError(failed.message, hint=failed.hint)
    try:
        return _compile(program, compiler, target, until)
    except NoProgramError as error:
        _FAILED[target] = error
        raise


def _make_private(folder: Path) -> None:
    """Make a folder that only this user may write to, or check that it is one."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name != "posix":
        return
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise NoProgramError(f"{folder}: belongs to another user", hint="set NIMA_HOME to a folder of your own")
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise NoProgramError(f"{folder}: other users may write there", hint="remove it, so that a safe one is made")


def _compile(program: Program, compiler: str, target: Path, until: float) -> Path:
    log, said, why = target.with_name(f"{target.name}.log"), [], ""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".compiling-") as work:
        for flags in program.choices:
            made, told = _make(program, [compiler, *_ALWAYS, *flags], Path(work), until)
            if made is not None:
                log.unlink(missing_ok=True)
                return made.replace(target.with_name(f"{target.name}-{_digest(made)}.so"))
            said += [f"{compiler} {' '.join(flags)}", told]
            why = next((line for line in told.splitlines() if "error" in line), told.partition("\n")[0])
    try:
        write_text(log, "\n".join(said) + "\n")
    except ResourceError as error:
        raise NoProgramError(f"{compiler} cannot compile it, and {error.message}") from error
    raise NoProgramError(f"{compiler} cannot compile it: {why[:_REASON]}", hint=f"all it said is in {log}")


def _make(program: Program, command: list[str], work: Path, until: float) -> tuple[Path | None, str]:
    """Compile the sources side by side and link them; without a program, return what the compiler said."""
    objects = {source: str(work / f"{source.stem}.o") for source in program.sources}
    parts = [[*command, "-c", str(source), "-o", to] for source, to in objects.items()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(lambda part: _run(part, until), parts))
    if all(one.returncode == 0 for one in done):
        made = work / "made.so"
        done = [_run([*command, "-shared", *objects.values(), "-o", str(made)], until)]
        if done[0].returncode == 0:
            return made, ""
    return None, "\n".join(filter(None, (one.stderr.strip() for one in done)))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _fingerprint(program: Program, compiler: str, until: float) -> str:
    version = _run([compiler, "-v"], until).stderr
    found = hashlib.sha256()
    for file in (*program.sources, *sorted(program.folder.glob("*.h"))):
        found.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    for part in (compiler, version, platform.machine(), *processor(), *_ALWAYS, *map(str, program.choices)):
        found.update(part.encode() + b"\0")
    return found.hexdigest()[:16]


def processor(system: str = sys.platform) -> Iterator[str]:
    """What tells one kind of processor from another, which may not run a program for the first."""
    yield platform.processor()
    if system == "darwin":  # where `platform` calls all of them `arm`
        yield _run(["sysctl", *_OF_A_MAC], time.monotonic() + _PATIENCE).stdout
        return
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    wanted = ("model name", "flags", "Features", "CPU part")
    yield from sorted({line for line in lines if line.startswith(wanted)})


def _run(command: list[str], until: float) -> subprocess.CompletedProcess[str]:
    """Run a command; NoProgramError if it is not done by `until`."""
    left = max(0.01, until - time.monotonic())
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=left, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoProgramError(f"{command[0]} took too long and was given up") from error
