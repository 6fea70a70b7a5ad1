"""Opens and parses what strangers wrote: bounded, strict, and with one line for whatever is wrong with it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.data.ingest.records.strict_json import JsonError, loads
from nima_cli.errors import CheckpointError
from nima_cli.files import explaining

_LARGEST_FILE = 4 << 20  # bytes of text
_MOST_CONTAINERS = 1 << 21  # a tokenizer has one for each merge, at most 300,000
_LFS_POINTER = b"version https://git-lfs"


def damaged(where: object, what: str) -> CheckpointError:
    """The error for a file that cannot be what it says."""
    return CheckpointError(f"{where}: damaged: {what}", hint="fetch it again")


def show(value: object) -> str:
    """A value of a file for a message, on one line and cut."""
    try:
        return shown(json.dumps(value, ensure_ascii=False), 80)
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__


def refuse_bomb(content: bytes, where: object) -> None:
    """Raise `CheckpointError` for JSON with too many lists and objects: an empty one takes 30 times its two bytes."""
    if content.count(b"[") + content.count(b"{") > _MOST_CONTAINERS:
        raise damaged(where, f"more than {_MOST_CONTAINERS:,} lists and objects")


def parse_json(content: bytes, where: object) -> Any:
    """One strict JSON value: no key twice, no NaN, not nested without end; raises `CheckpointError`."""
    refuse_bomb(content, where)
    try:
        return loads(content.decode("utf-8"))
    except (JsonError, UnicodeDecodeError) as error:
        problem = error.what if isinstance(error, JsonError) else "it is not UTF-8"
        raise damaged(where, f"not JSON: {shown(problem, 200)}") from error


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file that is there and is no Git LFS pointer, at its beginning.

    Raises:
        CheckpointError: it is not.
        ResourceError: the system refused.
    """
    with explaining(path, "open"):
        if not path.exists():
            raise CheckpointError(f"{path}: no such file")
        if not path.is_file():  # opening a pipe would wait for ever
            raise CheckpointError(f"{path}: it is no regular file")
        file = path.open("rb")
    with file:
        head = file.read(len(_LFS_POINTER))
        file.seek(0)
        if head == _LFS_POINTER:
            raise CheckpointError(f"{path}: only a Git LFS pointer to the file, not the file", hint="git lfs pull")
        yield file


def member(folder: Path, name: str) -> Path:
    """The file of this name in a folder; a link must stay in it, or lead to where the hub's client keeps files.

    Raises:
        CheckpointError: a link leads elsewhere: what it names would end up in checkpoints and exports.
    """
    with explaining(folder, "follow links"):
        home, target = folder.resolve(), (folder / name).resolve()
    # The client keeps files in `blobs`, and `snapshots/<revision>` has links to them.
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    if not (target.is_relative_to(home) or target.is_relative_to(blobs)):
        raise CheckpointError(f"{folder / name}: is a link out of its folder", hint="put the file itself there")
    return folder / name


def read_member(folder: Path, name: str, largest: int | None = None) -> bytes:
    """The contents of a file of at most `largest` bytes in a folder; raises as `member` and `open_file`."""
    path, limit = member(folder, name), largest or _LARGEST_FILE
    with open_file(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise CheckpointError(f"{path}: larger than {limit >> 20} MB")
    return content
