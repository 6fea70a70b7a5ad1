"""Reads the archive that `torch.save` writes, from a stranger, in bounded memory and without any part of torch.

The values of its pickle are read when it is opened, the bytes of a tensor when they are asked for, and every byte that
is used is compared with its checksum.
"""

import contextlib
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nima_cli.engine.checkpoint.pickle_reader import NotOursError, Storage, StoredTensor, read_pickle
from nima_cli.errors import CheckpointError
from nima_cli.files import explaining

_MAX_PICKLE = 8 << 20  # bytes; that of the largest model that a config allows, with optimizer, is about 1 MB
_CHUNK = 1 << 20  # bytes
_LOOKS_LIKE = {
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x02": "a legacy pickle",
    b"\x80\x04": "a pickle",
}


class Archive:
    """An open archive.

    Attributes:
        values: what its pickle says, with a `StoredTensor` for each tensor.

    Raises:
        CheckpointError: not such a file, damaged, or asking for anything beyond plain values and tensors.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = path
        head = stream.read(4)
        if head[:2] != b"PK":
            raise CheckpointError(f"{path}: not a nima checkpoint: {_describe(head)}")
        with self._reading():
            self._zip = zipfile.ZipFile(stream)
            self._folder = _check_entries(self._zip.infolist(), os.fstat(stream.fileno()).st_size)
            data = f"{self._folder}/data/"
            sizes = {
                entry.filename.removeprefix(data): entry.file_size
                for entry in self._zip.infolist()
                if entry.filename.startswith(data)
            }
            if f"{self._folder}/byteorder" in self._zip.namelist():
                order = self._zip.read(f"{self._folder}/byteorder").decode("ascii")
                if order != sys.byteorder:
                    raise ValueError(f"its numbers are in the byte order `{order}`")
            value = read_pickle(self._zip.read(f"{self._folder}/data.pkl"), sizes)
        if not isinstance(value, dict):
            kind = "Tensor" if isinstance(value, StoredTensor) else type(value).__name__
            raise CheckpointError(f"{path}: not a nima checkpoint: holds a {kind}, not a dict")
        self.values: dict[str, Any] = value

    def read_into(self, storage: Storage, buffer: memoryview) -> None:
        """Read the bytes of a storage into a buffer of its size."""
        with self._reading(), self._zip.open(f"{self._folder}/data/{storage.entry}") as entry:
            for start in range(0, len(buffer), _CHUNK):
                chunk = buffer[start : start + _CHUNK]
                if entry.readinto(chunk) != len(chunk):  # type: ignore[attr-defined]
                    raise ValueError(f"`{storage.entry}` is cut short")
            entry.read(1)  # at the end, the checksum is compared

    def check(self) -> None:
        """Compare every byte of the file with its checksum."""
        with self._reading():
            corrupt = self._zip.testzip()
            if corrupt is not None:
                raise ValueError(f"`{shown(corrupt)}` fails its checksum")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Whatever the libraries say of an untrusted archive: it is damaged."""
        try:
            yield
        except NotOursError as error:
            raise CheckpointError(
                f"{self._path}: not a nima checkpoint: {shown(str(error), 200)}", hint=error.hint
            ) from error
        except Exception as error:
            first_line = shown(str(error).split("\n")[0], 200)
            raise CheckpointError(
                f"{self._path}: damaged: {first_line}", hint="use another checkpoint of the run, or train again"
            ) from error


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a file and read all of it but the tensors.

    Raises:
        CheckpointError: missing, not such a file, damaged, or asking for anything beyond plain values and tensors.
        ResourceError: it cannot be read.
    """
    with explaining(path, "read"):
        if not path.exists():
            raise CheckpointError(f"{path}: no such checkpoint")
        if not path.is_file():  # opening a pipe would wait for ever
            raise CheckpointError(f"{path}: not a nima checkpoint: it is no regular file")
        stream = path.open("rb")
    with stream:
        yield Archive(path, stream)


def check_archive(path: Path) -> None:
    """Check a file's structure, its pickle, and every byte against its checksum; raises as `open_archive`."""
    with open_archive(path) as archive:
        archive.check()


def shown(text: Any, limit: int = 60) -> str:
    """Text out of the file for an error message: one line, not endless; other values only by their type."""
    if not isinstance(text, str):
        return type(text).__name__
    line = " ".join(text[: limit + 1].split())
    return line if len(text) <= limit else line[:limit] + "..."


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> str:
    """Every entry stored as it is, once, under one folder, and together no larger than the file; returns the folder."""
    names = [entry.filename for entry in entries]
    pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise NotOursError("a zip archive without a torch pickle")
    if len(set(names)) != len(names) or len({name.split("/", 1)[0] for name in names}) != 1:
        raise ValueError("its archive holds names twice or in several folders")
    if len({name.lower() for name in names}) != len(names):  # other readers take names in any case
        raise ValueError("its archive can be read in two ways")
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1 for entry in entries):
        raise ValueError("its archive is compressed or encrypted")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its entries are larger than the file")
    if pickles[0].file_size > _MAX_PICKLE:
        raise ValueError(f"its pickle is larger than {_MAX_PICKLE >> 20} MB")
    return pickles[0].filename.removesuffix("/data.pkl")


def _describe(head: bytes) -> str:
    if not head:
        return "it is empty"
    found = next((what for magic, what in _LOOKS_LIKE.items() if head.startswith(magic)), None)
    return f"it looks like {found}" if found else "it is not a torch archive"
