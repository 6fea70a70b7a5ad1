"""The file or folder that an export goes to: written atomically, and never over files of somebody else."""

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from nima_cli.errors import InputError
from nima_cli.files import explaining, make_folder

CARD = "README.md"  # of a folder
CARD_MARK = "<!-- written by nima export -->"
MODELFILE_MARK = "# written by nima export"
GGUF_MARK = "nima.version"  # a key near the beginning of the file
_HINT = "choose another `output=`, or move it away"


def check_file(path: Path) -> None:
    """Raise `InputError` if `path` holds anything but an earlier single-file export."""
    if path.is_dir():
        hint = f"for example `output={path / 'model'}`"
        raise InputError(f"{path}: is a folder; this format is one file", hint=hint)
    if os.path.lexists(path) and not _is_ours(path):
        raise InputError(f"{path}: exists and is no export of nima", hint=_HINT)


def card_path(output: Path) -> Path:
    """The card of a single file: not README.md, which may be somebody else's."""
    return output.with_name(f"{output.name}.md")


def modelfile_path(output: Path) -> Path:
    """What Ollama is given for a GGUF file: not Modelfile, which may be somebody else's."""
    return output.with_name(f"{output.name}.Modelfile")


def check_folder(path: Path, names: Collection[str], weights: str) -> None:
    """Raise `InputError` if something else than an earlier export is at `path`: a folder of `names`, with `weights`."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise InputError(f"{path}: is a file; this format is a folder", hint=_HINT)
    inside = sorted(entry.name for entry in path.iterdir())
    foreign = [name for name in inside if name not in names]
    if inside and (foreign or not _is_ours(path / weights)):
        named = foreign[0] if foreign else inside[0]
        raise InputError(f"{path}: holds `{named}`, which is not from an export of nima", hint=_HINT)


def _is_ours(path: Path) -> bool:
    """Whether this is a GGUF file, a safetensors file, a Modelfile or a card with the mark of nima."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError:
        return False
    if start.startswith(b"GGUF"):
        return GGUF_MARK.encode() in start
    if start.startswith(MODELFILE_MARK.encode()):
        return True
    own_metadata = json.dumps({"__metadata__": safetensors_metadata("")}, separators=(",", ":"))
    return start[8:].startswith(own_metadata.removesuffix('"}}').encode()) or CARD_MARK.encode() in start


def safetensors_metadata(version: str) -> dict[str, str]:
    """The beginning of the metadata in safetensors files of nima."""
    return {"format": "pt", "nima_version": version}


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that replaces `path` when the block ends without an error."""
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
        if old.exists() and not path.exists():  # an error or Ctrl-C between the two renames
            old.rename(path)
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)
