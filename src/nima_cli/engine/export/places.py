"""Where an export goes: all or nothing, and never over what somebody else put there.

A file is replaced in one step. A folder is made complete under another name and then moved into its place.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from nima_cli.errors import InputError
from nima_cli.files import atomic_write, explaining, make_folder

CARD_MARK = "<!-- written by nima export -->"
# A key near the beginning of every GGUF file that nima writes.
GGUF_MARK = "nima.version"
_HINT = "choose another `output=`, or move it away"


def check_file(path: Path) -> None:
    """Refuse a path for one file that is taken by anything but an earlier export."""
    if path.is_dir():
        raise InputError(
            f"{path}: is a folder; this format is one file",
            hint=f"for example `output={path / 'model'}`",
        )
    if os.path.lexists(path) and not _is_ours(path):
        raise InputError(f"{path}: exists and is no export of nima", hint=_HINT)


def check_folder(path: Path, names: Collection[str]) -> None:
    """Refuse a path for a folder of `names` that is taken by anything but an earlier export."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise InputError(f"{path}: is a file; this format is a folder", hint=_HINT)
    inside = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in inside if name not in names]
    if inside and (foreign or not _is_ours(path / "model.safetensors")):
        named = foreign[0] if foreign else inside[0]
        raise InputError(f"{path}: holds `{named}`, which is not from an export of nima", hint=_HINT)


def _is_ours(path: Path) -> bool:
    """Whether a file bears the mark of an export: a GGUF or safetensors file, or a card."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError:
        return False
    if start.startswith(b"GGUF"):
        return GGUF_MARK.encode() in start
    own_metadata = json.dumps({"__metadata__": safetensors_metadata("")}, separators=(",", ":"))
    return start[8:].startswith(own_metadata.removesuffix('"}}').encode()) or CARD_MARK.encode() in start


def safetensors_metadata(version: str) -> dict[str, str]:
    """How the metadata of a safetensors file from nima begins."""
    return {"format": "pt", "nima_version": version}


def write_file(path: Path, write: Callable[[Path], None], *, verify: Callable[[Path], object]) -> None:
    """Let `write` fill a file of another name, `verify` read it, and then give it its name."""
    make_folder(path.parent)
    with atomic_write(path, verify=verify) as stream:
        write(Path(stream.name))


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` in one step when the block ends without an error."""
    make_folder(path.parent)
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    try:
        with explaining(path, "write this folder"):
            part.mkdir()
            yield part
            if path.exists():
                path.rename(old)
            part.rename(path)
    finally:
        if old.exists() and not path.exists():  # it went wrong, or was interrupted, between the two renames
            old.rename(path)
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)
