"""Reads an untrusted archive of `torch.save`, in bounded memory, without torch, and with every checksum compared."""

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

_MAX_PICKLE = 8 << 20  # bytes; the largest model that a config allows needs about 1 MB, its optimizer included
_CHUNK = 1 << 20  # bytes
_LOOKS_LIKE = {
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x80\x02": "a legacy pickle",
    b"\x80\x04": "a pickle",
}


class Archive:
    """An open archive; its `values` hold a `StoredTensor` for each tensor, whose bytes `read_into` reads."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = path
        head = stream.read(4)
        if head[:2] != b"PK":
            raise CheckpointError(f"{path}: not a nima checkpoint: {_describe(head)}", hint=_way_in(path, head))
        with self._reading():
            self._zip = zipfile.ZipFile(stream)
            entries = self._zip.infolist()
            self._folder = _check_entries(entries, os.fstat(stream.fileno()).st_size)
            data = f"{self._folder}/data/"
            sizes = {e.filename.removeprefix(data): e.file_size for e in entries if e.filename.startswith(data)}
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
            entry.read(1)  # compares the checksum at the end

    def check(self) -> None:
        """Compare all bytes with their checksums."""
        with self._reading():
            corrupt = self._zip.testzip()
            if corrupt is not None:
                raise ValueError(f"`{shown(corrupt)}` fails its checksum")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise `CheckpointError` whatever the libraries raise: an untrusted archive can cause any error."""
        try:
            yield
        except NotOursError as error:
            problem = f"not a nima checkpoint: {shown(str(error), 200)}"
            raise CheckpointError(f"{self._path}: {problem}", hint=error.hint) from error
        except Exception as error:
            first_line = shown(str(error).split("\n")[0], 200)
            hint = "use another checkpoint of the run, or train again"
            raise CheckpointError(f"{self._path}: damaged: {first_line}", hint=hint) from error


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a file and read everything but the tensors; raises `CheckpointError`, or `ResourceError` if it cannot."""
    with explaining(path, "read"):
        if not path.exists():
            raise CheckpointError(f"{path}: no such checkpoint")
        if not path.is_file():  # opening a pipe would wait for ever
            raise CheckpointError(f"{path}: not a nima checkpoint: it is no regular file")
        stream = path.open("rb")
    with stream:
        yield Archive(path, stream)


def check_archive(path: Path) -> None:
    """Check a file's structure, its pickle, and all bytes against their checksums; raises as `open_archive`."""
    with open_archive(path) as archive:
        archive.check()


def shown(text: Any, limit: int = 60) -> str:
    """Text of the file for an error message, on one line and cut at `limit`; of other values only the type."""
    if not isinstance(text, str):
        return type(text).__name__
    line = " ".join(text[: limit + 1].split())
    return line if len(text) <= limit else line[:limit] + "..."


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> str:
    """The folder of all entries, after checking that they are uncompressed, unique, and fit in a file of `size`."""
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


def _way_in(path: Path, head: bytes) -> str | None:
    """How weights in another format are used instead."""
    if head == b"GGUF":
        return f"start a run from it with `init_from={path}`"
    return "name the folder with its `config.json`, not the file" if path.suffix == ".safetensors" else None
