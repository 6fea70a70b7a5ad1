"""Atomic writes, which every file of nima goes through, and the lock of a folder."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from nima_cli.errors import ResourceError

_REASONS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "the file would be larger than this system allows",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a parent of it is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
}
# Errors of a file system that has no hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
# The names that `_temporary` gives.
_TEMPORARY = re.compile(r"\..+\.\d+(\.done)?\.tmp")


def explain(error: OSError, path: Path, doing: str) -> ResourceError:
    """Say what failed, on which path, and why."""
    reason = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
    hint = "free some space or choose another folder" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return ResourceError(f"{path}: cannot {doing}: {reason}", hint=hint)


@contextlib.contextmanager
def explaining(path: Path, doing: str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `ResourceError`; see `explain`."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, doing) from error


@contextlib.contextmanager
def atomic_write(path: Path, *, verify: Callable[[Path], object] | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` for binary writing; on success it becomes `path` in one step.

    A reader sees the old file or the new one, never half of one. Pillai et al., "All File Systems Are Not Created
    Equal" (OSDI 2014), show why each step is needed.

    Args:
        verify: called with the finished temporary file; what it raises cancels the write.

    Raises:
        ResourceError: the system refused; `path` is as it was before.
    """
    with explaining(path, "write"), _temporary(path) as part:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if verify is not None:
            verify(part)
        _replace(part, path)
        fsync_folder(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name atomically, by a hard link, or by a copy where links are not supported."""
    try:
        with _temporary(target) as part:
            os.link(source, part)
            _replace(part, target)  # does nothing if both are the same file already
            fsync_folder(target.parent)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise explain(error, target, "write") from error
        with atomic_write(target) as stream, source.open("rb") as original:
            shutil.copyfileobj(original, stream)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path`; the file is removed afterwards."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically, as UTF-8 with LF line ends."""
    with atomic_write(path) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically, as indented strict JSON (no NaN)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _replace(part: Path, path: Path) -> None:
    """`os.replace`, retried for about 1 s on Windows while a virus scanner or indexer holds the target."""
    for attempt in range(8):
        try:
            os.replace(part, path)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in (5, 32, 33) or attempt == 7:
                raise
            time.sleep(0.01 * 2**attempt)


def fsync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; does nothing where folders cannot be synced (Windows, some network disks)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Create `path` and check that files can be written in it; otherwise remove it and raise `ResourceError`."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ResourceError(f"{path}: is a file, not a folder", hint="choose another folder") from error
    except OSError as error:
        raise explain(error, path, "create this folder") from error
    try:
        _probe(path)
    except OSError as error:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise explain(error, path, "write in this folder") from error


def check_writable(folder: Path) -> None:
    """Raise `ResourceError` unless files can be written in `folder`, or where it would be created."""
    with explaining(folder, "write in this folder"):
        _probe(_existing(folder))


def _probe(folder: Path) -> None:
    """Make each system call of an atomic write once."""
    with _temporary(folder / "probe") as part, _temporary(folder / "probe.done") as whole:
        with part.open("wb") as stream:
            stream.write(b"nima")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):  # another process has swept it, so writing works
            _replace(part, whole)


def _existing(folder: Path) -> Path:
    """`folder`, or its nearest parent that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))


def check_free_space(folder: Path, needed: int) -> None:
    """Raise `ResourceError` if fewer than `needed` bytes are free for `folder`, which need not exist yet."""
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise ResourceError(
            f"{folder}: {needed / 1e6:,.0f} MB are needed for checkpoints, {free / 1e6:,.0f} MB are free",
            hint="free some space or choose another `output_dir=`",
        )


def free_bytes(folder: Path) -> int | None:
    """Bytes free on the disk that holds `folder` or would hold it; None if the system does not say."""
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return None


def is_temporary(name: str) -> bool:
    """Whether this is the name of an unfinished atomic write."""
    return bool(_TEMPORARY.fullmatch(name))


def sweep_temporary(folder: Path) -> None:
    """Remove what killed writers left in `folder`; the caller holds its lock."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if is_temporary(path.name) and not path.is_symlink() and path.is_file():
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock the folder, or raise `ResourceError` and name the process that holds it.

    The kernel releases the lock when the process ends, however it ends.
    """
    from filelock import FileLock, Timeout

    make_folder(folder)
    owner = folder / ".lock.owner"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        hint = "wait for it, stop it, or choose another `output_dir=`"
        raise ResourceError(f"{folder}: in use by {_read_owner(owner)}", hint=hint) from error
    except OSError as error:
        raise explain(error, folder, "lock this folder") from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_text(owner, f"pid {os.getpid()} on {socket.gethostname()} since {since}\n")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _read_owner(owner: Path) -> str:
    """Who holds the lock; waits for a process that has just acquired it and not written this yet."""
    for _ in range(20):
        with contextlib.suppress(OSError):
            return owner.read_text("utf-8").strip()
        time.sleep(0.05)
    return "another process"
