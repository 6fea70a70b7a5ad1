"""Reads what stands before the tensors of an untrusted GGUF file: metadata, and where each tensor is.

The reader of the `gguf` package believes every count in the file, and takes seconds for a vocabulary.
"""

import math
import os
import struct
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import numpy as np

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.packages import needed
from nima_cli.engine.pretrained.strict import damaged
from nima_cli.engine.pretrained.weights import GGUF_FILES, StoredTensor
from nima_cli.errors import CheckpointError

_VERSIONS = (2, 3)
# Bounds on what a header may claim; the largest vocabularies have 300,000 tokens and take 10 MB.
_LARGEST_HEADER = 96 << 20  # bytes
_MOST_ENTRIES, _MOST_VALUES, _LONGEST_NAME, _MOST_DIMENSIONS = 1 << 16, 1 << 21, 1 << 16, 4
_NUMBERS = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"
}  # fmt: skip
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata by key (numbers, text, and lists of them), and the tensors by their names in the file."""

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


def read_header(file: IO[bytes]) -> Header:
    """The header of an open file.

    Raises:
        CheckpointError: it is no GGUF file, is damaged or cut off, or holds numbers that cannot be read.
        ResourceError: the package `gguf` is missing.
    """
    size = os.fstat(file.fileno()).st_size
    if file.read(4) != b"GGUF":
        raise CheckpointError(f"{file.name}: not a GGUF file", hint="give a `.gguf` file, or the folder of a model")
    cursor = _Cursor(file, 4, size)
    version = cursor.number(4)
    if version not in _VERSIONS:
        what = "its numbers are big-endian" if version & 0xFFFF == 0 else f"version {version} of the format"
        raise CheckpointError(f"{file.name}: {what}; nima reads versions 2 and 3, little-endian")
    n_tensors, n_values = cursor.count(_MOST_ENTRIES), cursor.count(_MOST_ENTRIES)
    metadata: dict[str, Any] = {}
    for _ in range(n_values):
        key = cursor.text(_LONGEST_NAME)
        if key in metadata:
            raise cursor.damaged(f"`{shown(key)}` occurs twice")
        metadata[key] = cursor.value(cursor.number(4))
    entries = [_entry(cursor) for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise cursor.damaged(f"`general.alignment` is {shown(str(alignment))}, not a power of two")
    start = -(-cursor.position // alignment) * alignment
    tensors = [_tensor(file, entry, start, alignment) for entry in entries]
    _check_places(file, tensors, start, size)
    return Header(metadata, {tensor.name: tensor for tensor in tensors})


class _Cursor:
    """Takes values one after the other; none may reach beyond the file, nor all of them beyond a header's bound."""

    def __init__(self, file: IO[bytes], position: int, size: int) -> None:
        self._file, self.position, self._end = file, position, min(size, _LARGEST_HEADER)
        self._values_left = _MOST_VALUES

    def damaged(self, what: str) -> CheckpointError:
        return damaged(self._file.name, what)

    def take(self, count: int) -> bytes:
        left = self._end - self.position
        if count > left:
            what = f"its header wants {count:,} bytes more at byte {self.position:,}, where {left:,} are left"
            raise self.damaged(f"cut off, or not what it says: {what}")
        self.position += count
        return self._file.read(count)

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def count(self, most: int) -> int:
        found = self.number(8)
        if found > most:
            raise self.damaged(f"its header announces {found:,} parts at byte {self.position - 8:,}")
        return found

    def text(self, longest: int) -> str:
        length = self.number(8)
        if length > longest:
            raise self.damaged(f"a text of {length:,} bytes at byte {self.position:,}")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"the text before byte {self.position:,} is not UTF-8") from error

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text(_LARGEST_HEADER)
        if kind != _ARRAY:
            return self._numbers(kind, 1)[0]
        kind, count = self.number(4), self.count(self._values_left)
        self._values_left -= count
        if kind == _STRING:
            return [self.text(_LONGEST_NAME) for _ in range(count)]
        return self._numbers(kind, count)

    def _numbers(self, kind: int, count: int) -> list[Any]:
        if kind not in _NUMBERS:
            raise self.damaged(f"a value of the kind {kind} at byte {self.position:,}")
        dtype = np.dtype(_NUMBERS[kind])
        found: list[Any] = np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()
        return found


def _entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape (of rows first), type and place of a tensor."""
    name = cursor.text(_LONGEST_NAME)
    dimensions = cursor.number(4)
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise cursor.damaged(f"`{shown(name)}` has {dimensions} dimensions")
    shape = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions))[::-1]
    return name, shape, cursor.number(4), cursor.number(8)


@cache
def _type(kind: int) -> tuple[str, int, int] | None:
    """Name, numbers in a block and bytes of a block of a type; None if the package cannot undo it."""
    gguf = needed("gguf", extra="pretrained", what=GGUF_FILES)
    try:
        dtype = gguf.GGMLQuantizationType(kind)
        block, block_bytes = gguf.GGML_QUANT_SIZES[dtype]
        gguf.quants.dequantize(np.zeros((1, block_bytes), dtype=np.uint8), dtype)
    except (ValueError, KeyError, NotImplementedError):
        return None
    return dtype.name, block, block_bytes


def _tensor(file: IO[bytes], entry: tuple[str, tuple[int, ...], int, int], start: int, alignment: int) -> StoredTensor:
    """A tensor whose type can be undone; `start` is where the tensors begin."""
    name, shape, kind, offset = entry
    found = _type(kind)
    if found is None:
        called = {
            dtype.value: dtype.name
            for dtype in needed("gguf", extra="pretrained", what=GGUF_FILES).GGMLQuantizationType
        }.get(kind, f"number {kind}")
        problem = f"`{shown(name)}` is of the type {called}, which the package `gguf` cannot undo"
        raise CheckpointError(f"{file.name}: {problem}", hint="take the model in another quantisation")
    dtype, block, block_bytes = found
    if shape[-1] % block or offset % alignment:
        raise damaged(file.name, f"`{shown(name)}` of {shape} at {offset:,} does not fit its type {dtype}")
    return StoredTensor(file, name, dtype, shape, start + offset, math.prod(shape) // block * block_bytes)


def _check_places(file: IO[bytes], tensors: list[StoredTensor], start: int, size: int) -> None:
    """Refuse tensors of one name, and tensors that overlap or reach beyond the file."""
    end, names = start, set()
    for tensor in sorted(tensors, key=lambda one: one.start):
        if tensor.name in names:
            raise damaged(file.name, f"`{shown(tensor.name)}` occurs twice")
        names.add(tensor.name)
        if tensor.start < end:
            raise damaged(file.name, f"the bytes of `{shown(tensor.name)}` overlap others")
        end = tensor.start + tensor.nbytes
        if end > size:
            raise damaged(file.name, f"cut off: `{shown(tensor.name)}` ends at byte {end:,}, the file at {size:,}")
