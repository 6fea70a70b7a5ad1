"""Counts every call of this process that changes files under a folder, and strikes at one of them.

A moment is an opening for writing, a write that reaches the system, an fsync, a rename, a link, an unlink or a mkdir.
What Python still holds in a buffer is lost with the process, as it is in life.
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Kill before the call; kill after half of a write; refuse this call; refuse this one and all later ones that need room.
KILL, TORN, FULL = "kill", "torn", "full"
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES")
FAULTS = (KILL, TORN, FULL, *ERRORS)
_NEED_ROOM = {"open", "write", "fsync", "link", "mkdir"}


class Moments:
    """The fault `fault` at moment number `wanted`; 0 only counts."""

    def __init__(self, folder: Path, fault: str, wanted: int) -> None:
        self.folder, self.fault, self.wanted = str(folder), fault, wanted
        self.kinds: list[str] = []

    def install(self) -> None:
        """From now on, in this process."""
        for name in ("replace", "rename", "unlink", "remove", "link", "mkdir"):
            setattr(os, name, self._wrapped(getattr(os, name), name))
        os.fsync = self._wrapped(os.fsync, "fsync", always=True)
        opened = builtins.open

        def open_(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
            if "b" not in mode or not set(mode) & set("wa") or not self._watches(file):
                return opened(file, mode, buffering, *rest, **named)
            self._pass("open")
            raw = _Watched(file, mode.replace("b", ""))
            raw.moments = self
            return raw if buffering == 0 else io.BufferedWriter(raw)

        builtins.open = io.open = open_

    def write(self, data: Any, write: Callable[[Any], int]) -> int:
        """A write, whole, half or refused."""
        if self.fault == TORN and len(self.kinds) + 1 == self.wanted:
            view = memoryview(data).cast("B")
            write(view[: len(view) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        self._pass("write")
        return write(data)

    def _pass(self, kind: str) -> None:
        self.kinds.append(kind)
        count = len(self.kinds)
        if self.fault in (KILL, TORN) and count == self.wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault in ERRORS and count == self.wanted:
            raise OSError(getattr(errno, self.fault), os.strerror(getattr(errno, self.fault)))
        if self.fault == FULL and 0 < self.wanted <= count and kind in _NEED_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _watches(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder)

    def _wrapped(self, function: Callable[..., Any], kind: str, *, always: bool = False) -> Callable[..., Any]:
        def wrapped(path: Any, *rest: Any, **named: Any) -> Any:
            if always or self._watches(path):
                self._pass(kind)
            return function(path, *rest, **named)

        return wrapped


class _Watched(io.FileIO):
    """A file whose writes are moments."""

    moments: Moments

    def write(self, data: Any, /) -> int:
        return self.moments.write(data, super().write)
