"""Prepares over an old dataset again and again, killed or refused by the disk at one call after the other.

Run as `python -m tests.engine.data.crash_sweep CORPUS FOLDER kill|full STEP`; prints one JSON object. Every call that
changes the output folder counts as one moment: opening for writing, each write, fsync, rename, unlink, mkdir.
"""

import errno
import json
import os
import pathlib
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.store.dataset_files import METADATA, read_dataset
from nima_cli.errors import ResourceError

OLD, NEW = 128, 64
_FULL = ("open", "write", "fsync", "replace", "mkdir")


class Moments:
    """Counts the calls under `folder` and strikes at number `wanted` (0: never)."""

    def __init__(self, folder: Path, mode: str, wanted: int) -> None:
        self.folder, self.mode, self.wanted, self.count = folder, mode, wanted, 0

    def pass_by(self, kind: str) -> None:
        self.count += 1
        if self.mode == "kill" and self.count == self.wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        # A full disk stays full, but still lets files be removed.
        if self.mode == "full" and 0 < self.wanted <= self.count and kind in _FULL:
            raise OSError(errno.ENOSPC, "no space left on device")

    def watches(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).is_relative_to(self.folder)

    def install(self) -> None:
        """Patch what the writer calls."""
        for owner, name, kind in ((os, "replace", "replace"), (os, "mkdir", "mkdir"), (os, "unlink", "unlink")):
            setattr(owner, name, self._wrapped(getattr(owner, name), kind))
        sync = os.fsync

        def fsync(fd: Any) -> None:
            self.pass_by("fsync")
            sync(fd)

        os.fsync = fsync
        opened = pathlib.Path.open

        def open_(path: Path, mode: str = "r", *rest: Any, **named: Any) -> IO[Any]:
            if not ("w" in mode and self.watches(path)):
                return opened(path, mode, *rest, **named)
            self.pass_by("open")
            return _Watched(opened(path, mode, *rest, **named), self)  # type: ignore[return-value]

        pathlib.Path.open = open_  # type: ignore[method-assign, assignment]

    def _wrapped(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def wrapped(path: Any, *rest: Any, **named: Any) -> Any:
            if self.watches(path):
                self.pass_by(kind)
            return function(path, *rest, **named)

        return wrapped


class _Watched:
    """A stream whose writes are moments too."""

    def __init__(self, stream: IO[Any], moments: Moments) -> None:
        self._stream, self._moments = stream, moments

    def write(self, data: Any) -> int:
        self._moments.pass_by("write")
        return self._stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def prepare_again(corpus: Path, folder: Path, max_length: int) -> None:
    config = DataConfig(sources=[SourceConfig(path=str(corpus))], max_length=max_length, vocab_size=512)
    for _ in prepare(config, folder, overwrite=True, workers=1):
        pass


def struck(corpus: Path, folder: Path, mode: str, wanted: int) -> int:
    """Prepare in a child process that is struck; returns its wait status, or with `wanted` 0 the number of moments."""
    pid = os.fork()
    if pid == 0:
        moments = Moments(folder, mode, wanted)
        code = 0
        try:
            moments.install()
            prepare_again(corpus, folder, NEW)
        except ResourceError:
            code = 4
        except BaseException:
            traceback.print_exc()
            code = 1
        if wanted == 0:
            folder.with_name("moments").write_text(str(moments.count))
        os._exit(code)
    return os.waitpid(pid, 0)[1]


def state(folder: Path) -> str:
    """`old`, `new` or `none`; raises for half a dataset."""
    if not (folder / METADATA).exists():
        return "none"
    length = read_dataset(folder).metadata["options"]["max_length"]
    return {OLD: "old", NEW: "new"}[length]


def main(corpus: Path, folder: Path, mode: str, step: int) -> dict[str, Any]:
    """Strike at every `step`-th moment, and see what is left each time."""
    prepare_again(corpus, folder, OLD)
    saved = folder.with_name("saved")
    shutil.copytree(folder, saved)
    struck(corpus, folder, "kill", 0)
    total = int(folder.with_name("moments").read_text())
    found: Counter[str] = Counter()
    for wanted in range(1, total + 1, step):
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
        status = struck(corpus, folder, mode, wanted)
        expected = status == signal.SIGKILL if mode == "kill" else os.waitstatus_to_exitcode(status) in (0, 4)
        assert expected, f"moment {wanted} of {total} ended with status {status}"
        left = state(folder)
        found[left] += 1
        if mode == "full":
            assert not list(folder.glob(".staging-*")), f"litter at moment {wanted}"
        if left == "none" and found["none"] % 5 == 1:
            prepare_again(corpus, folder, NEW)
            assert state(folder) == "new"
    return {"moments": total, "tried": found.total(), **found}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
