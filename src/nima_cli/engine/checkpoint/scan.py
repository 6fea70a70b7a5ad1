"""Reads an untrusted `.pt` file without letting it do anything: the only module that calls `torch.load`.

`weights_only=True` is necessary and not sufficient: its own list of allowed functions has had memory-safety bugs. So
the archive and its pickle are checked first, against a far shorter list. There is no unsafe fallback.
"""

import os
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from nima_cli.engine.checkpoint.pickle_scan import ForbiddenPickleError, check_pickle
from nima_cli.errors import CheckpointError

_MAX_PICKLE = 8 << 20  # bytes; that of the largest model that a config allows, with optimizer, is about 1 MB
_LOOKS_LIKE = {
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x02": "a legacy pickle",
    b"\x80\x04": "a pickle",
}


def load_untrusted(path: Path) -> dict[str, Any]:
    """Open `path` once, check it, and return its dict of plain values and CPU tensors.

    Memory stays within the file's own size plus a small constant, whatever its header says.

    Raises:
        CheckpointError: not such a file, damaged, or asking for anything beyond plain tensors.
        OSError: it cannot be read.
    """
    with _opened(path) as stream:
        _check_archive(stream, path)
        stream.seek(0)
        try:
            value = torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
        except Exception as error:  # the archive is untrusted: whatever torch says of it, it is damaged
            raise _damaged(path, str(error)) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a nima checkpoint: holds a {type(value).__name__}, not a dict")
    return value


def check_untrusted(path: Path) -> None:
    """All that `load_untrusted` checks before torch gets to see the file: structure, every checksum, the pickle.

    Raises:
        CheckpointError, OSError: see `load_untrusted`.
    """
    with _opened(path) as stream:
        _check_archive(stream, path)


def _opened(path: Path) -> IO[bytes]:
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise CheckpointError(f"{path}: not a nima checkpoint: it is no regular file")
    return path.open("rb")


def shown(text: Any, limit: int = 60) -> str:
    """Text out of the file for an error message: one line, not endless; other values only by their type."""
    if not isinstance(text, str):
        return type(text).__name__
    line = " ".join(text[: limit + 1].split())
    return line if len(text) <= limit else line[:limit] + "..."


def _check_archive(stream: IO[bytes], path: Path) -> None:
    head = stream.read(4)
    if head[:2] != b"PK":
        raise CheckpointError(f"{path}: not a nima checkpoint: {_describe(head)}")
    try:
        with zipfile.ZipFile(stream) as archive:
            _check_entries(archive, os.fstat(stream.fileno()).st_size, path)
            corrupt = archive.testzip()  # reads everything once and compares each entry's CRC-32
            if corrupt is not None:
                raise _damaged(path, f"`{shown(corrupt)}` fails its checksum")
            pickle_name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            zip_view = archive.read(pickle_name)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises many kinds on hostile input
        raise _damaged(path, str(error)) from error
    # Two parsers may disagree on a crafted archive: what is scanned must be what torch will execute.
    stream.seek(0)
    if _torch_view(stream, path) != zip_view:
        raise _damaged(path, "its archive can be read in two ways")
    _check_pickle(zip_view, path)


def _check_entries(archive: zipfile.ZipFile, size: int, path: Path) -> None:
    """Every entry stored as it is, once, under one folder, and together no larger than the file."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if sum(name.endswith("/data.pkl") for name in names) != 1:
        raise CheckpointError(f"{path}: not a nima checkpoint: a zip archive without a torch pickle")
    if len(set(names)) != len(names) or len({name.split("/", 1)[0] for name in names}) != 1:
        raise _damaged(path, "its archive holds names twice or in several folders")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1 for entry in entries):
        raise _damaged(path, "its archive is compressed or encrypted")
    if sum(entry.file_size for entry in entries) > size:
        raise _damaged(path, "its entries are larger than the file")
    if any(entry.file_size > _MAX_PICKLE for entry in entries if entry.filename.endswith("/data.pkl")):
        raise _damaged(path, f"its pickle is larger than {_MAX_PICKLE >> 20} MB")


def _torch_view(stream: IO[bytes], path: Path) -> bytes:
    try:
        # Torch's own reader, the one `torch.load` will use; there is no public name for it.
        record: bytes = torch._C.PyTorchFileReader(stream).get_record("data.pkl")
    except RuntimeError as error:
        raise _damaged(path, str(error)) from error
    return record


def _check_pickle(data: bytes, path: Path) -> None:
    try:
        check_pickle(data)
    except ForbiddenPickleError as error:
        if error.call is None:
            raise CheckpointError(f"{path}: not a nima checkpoint: another program's torch file ({error})") from error
        raise CheckpointError(
            f"{path}: not a nima checkpoint: wants to call `{shown(error.call).replace(' ', '.')}`",
            hint="nothing was executed; do not open this file with other tools unless you trust its author",
        ) from error
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _describe(head: bytes) -> str:
    if not head:
        return "it is empty"
    for magic, what in _LOOKS_LIKE.items():
        if head.startswith(magic):
            return f"it looks like {what}"
    return "it is not a torch archive"


def _damaged(path: Path, why: str) -> CheckpointError:
    first_line = shown(why.split("\n")[0], 200)
    return CheckpointError(f"{path}: damaged: {first_line}", hint="use another checkpoint of the run, or train again")
