"""The one atomic write for every artefact and the lock of a run directory; knows nothing of what the files mean.

A write is all or nothing: temp file in the same folder, flush, fsync, optional verification, `os.replace`, fsync of the
folder. A reader sees the old file or the new one, never half of one (pillai et al., "All File Systems Are Not Created
Equal", OSDI 2014, shows why each of these steps is needed).
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import sys
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


def explain(error: OSError, path: Path, doing: str) -> ResourceError:
    """One sentence for an operating-system failure: what we did, to which path, and why it failed."""
    reason = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
    hint = "free some space or choose another folder" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return ResourceError(f"{path}: cannot {doing}: {reason}", hint=hint)


@contextlib.contextmanager
def atomic_write(path: Path, *, verify: Callable[[Path], None] | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` for binary writing; on success it becomes `path` in one step.

    Args:
        path: the final file; its folder must exist.
        verify: called with the finished temporary file; what it raises cancels the write.

    Raises:
        ResourceError: the disk, quota or permissions refused; `path` is then as it was before.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with part.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if verify is not None:
                verify(part)
            _replace(part, path)
            fsync_folder(path.parent)
        except OSError as error:
            raise explain(error, path, "write") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with LF line ends, all or nothing."""
    with atomic_write(path) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented strict JSON (no NaN), all or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _replace(part: Path, path: Path) -> None:
    """`os.replace`, retried on Windows while a virus scanner or indexer holds the target (at most about 2 s)."""
    for attempt in range(8):
        try:
            os.replace(part, path)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in (5, 32, 33) or attempt == 7:
                raise
            time.sleep(0.01 * 2**attempt)


def fsync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; a no-op where folders cannot be synced (Windows, some network disks)."""
    if sys.platform == "win32":
        return
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
    """Create `path` and prove that a file can be written in it.

    Raises:
        ResourceError: it exists as a file, or cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ResourceError(f"{path}: is a file, not a folder", hint="choose another folder") from error
    except OSError as error:
        raise explain(error, path, "create this folder") from error
    probe = path / f".probe.{os.getpid()}"
    try:
        probe.write_bytes(b"nima")
        probe.unlink()
    except OSError as error:
        raise explain(error, path, "write in this folder") from error


def check_free_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        needed: bytes.

    Raises:
        ResourceError: names what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{folder}: {needed / 1e6:,.0f} MB are needed for checkpoints, {free / 1e6:,.0f} MB are free",
            hint="free some space or choose another --output-dir",
        )


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go when the process ends, however it ends.

    Raises:
        ResourceError: another process holds it; names its pid, host and start time.
    """
    from filelock import FileLock, Timeout

    make_folder(folder)
    path = folder / ".lock"
    owner = folder / ".lock.owner"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        held_by = owner.read_text("utf-8").strip() if owner.exists() else "another process"
        raise ResourceError(
            f"{folder}: in use by {held_by}", hint="wait for it, stop it, or choose another --output-dir"
        ) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_text(owner, f"pid {os.getpid()} on {socket.gethostname()} since {since}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
