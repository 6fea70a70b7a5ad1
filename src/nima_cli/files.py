"""The one atomic write for every file that nima makes, and the lock of a folder.

A write is all or nothing: temp file in the same folder, flush, fsync, optional verification, `os.replace`, fsync of the
folder. A reader sees the old file or the new one, never half of one (pillai et al., "All File Systems Are Not Created
Equal", OSDI 2014, shows why each of these steps is needed).
"""

import contextlib
import errno
import hashlib
import json
import os
import re
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
# The file system, not the disk's state, is why a hard link cannot be made.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
# What `_temporary` calls files: the name, the process, the ending.
_TEMPORARY = re.compile(r"\..+\.\d+(\.done)?\.tmp")


def explain(error: OSError, path: Path, doing: str) -> ResourceError:
    """One sentence for an operating-system failure: what we did, to which path, and why it failed."""
    reason = _REASONS.get(error.errno or 0, (error.strerror or str(error)).lower())
    hint = "free some space or choose another folder" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return ResourceError(f"{path}: cannot {doing}: {reason}", hint=hint)


@contextlib.contextmanager
def explaining(path: Path, doing: str) -> Iterator[None]:
    """Raise what the operating system refuses inside as a `ResourceError`; see `explain`."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, doing) from error


@contextlib.contextmanager
def atomic_write(path: Path, *, verify: Callable[[Path], object] | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` for binary writing; on success it becomes `path` in one step.

    Args:
        path: the final file; its folder must exist.
        verify: called with the finished temporary file; what it raises cancels the write.

    Raises:
        ResourceError: the disk, quota or permissions refused; `path` is then as it was before.
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
    """Give a file that is never changed in place a second name, all or nothing; where no links can be had, a copy.

    Raises:
        ResourceError: the disk or permissions refused; `target` is then as it was before.
    """
    try:
        with _temporary(target) as part:
            os.link(source, part)
            _replace(part, target)  # does nothing where both already are the same file
            fsync_folder(target.parent)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise explain(error, target, "write") from error
        with atomic_write(target) as stream, source.open("rb") as original:
            shutil.copyfileobj(original, stream)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path`, which is gone afterwards."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield part
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
    """Create `path` and prove that a file can be written in it; what cannot be used is not left behind.

    Raises:
        ResourceError: it exists as a file, or cannot be created or written.
    """
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
        for folder in missing:  # the innermost first
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise explain(error, path, "write in this folder") from error


def check_writable(folder: Path) -> None:
    """Prove that files can be written in `folder`, or where it would be created; leaves nothing behind.

    Raises:
        ResourceError: it is a file, or cannot be written.
    """
    with explaining(folder, "write in this folder"):
        _probe(_existing(folder))


def _probe(folder: Path) -> None:
    """Every call that an atomic write makes, once."""
    with _temporary(folder / "probe") as part, _temporary(folder / "probe.done") as whole:
        with part.open("wb") as stream:
            stream.write(b"nima")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):  # the folder's holder has swept it: writing works
            _replace(part, whole)


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))


def check_free_space(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: it need not exist yet.
        needed: bytes.

    Raises:
        ResourceError: names what is needed and what is free.
    """
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise ResourceError(
            f"{folder}: {needed / 1e6:,.0f} MB are needed for checkpoints, {free / 1e6:,.0f} MB are free",
            hint="free some space or choose another `output_dir=`",
        )


def free_bytes(folder: Path) -> int | None:
    """Bytes free on the disk that holds `folder`, or would; None where the system does not say."""
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return None


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a writer of ours has not finished."""
    return bool(_TEMPORARY.fullmatch(name))


def sweep_temporary(folder: Path) -> None:
    """Remove what killed writers left in `folder`; to be called by its only writer, who holds its lock."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if is_temporary(path.name) and not path.is_symlink() and path.is_file():
                path.unlink(missing_ok=True)


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
        held_by = _read_owner(owner)
        raise ResourceError(
            f"{folder}: in use by {held_by}", hint="wait for it, stop it, or choose another `output_dir=`"
        ) from error
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
    """Who holds the lock; a holder that has only just taken it gets a moment to say so."""
    for _ in range(20):
        with contextlib.suppress(OSError):
            return owner.read_text("utf-8").strip()
        time.sleep(0.05)
    return "another process"
