"""Reads a piece of the input (a file, or some lines of one) on any core; knows nothing of what becomes of documents.

What is read depends on the piece and on what lies on disk alone, so that any process of any machine that sees the file
may do it.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from nima_cli.engine.data.diagnostics import Problem, printable
from nima_cli.engine.data.document import Document, Kind
from nima_cli.engine.data.ingest.contents import TABLE_SUFFIXES
from nima_cli.engine.data.ingest.readers import Reading, Value, read_file, read_jsonl
from nima_cli.engine.data.ingest.records.record_values import Seen
from nima_cli.engine.data.ingest.records.records import RecordReader, Shape
from nima_cli.files import explain

# Characters of documents (or dropped records) that are held at once while a file is read.
BATCH_CHARACTERS = 2**18
_BATCH_DROPS = 2**12
_BLOCK = 2**18


@dataclass(frozen=True, slots=True)
class Origin:
    """Where documents come from, and how they are read.

    Attributes:
        source: index in the list of sources, for the tally.
        label: number written into the documents as their source.
        name: the file, for messages.
        suffixes: of the contents and of the file itself, see `file_kinds.suffixes`; empty for standard input.
    """

    source: int
    label: int
    name: str
    suffixes: tuple[str, str]
    how: Reading


@dataclass(frozen=True, slots=True)
class Lines:
    """A range of a JSON Lines file.

    Attributes:
        begin, end: bytes from the start of the file, each at the start of a line or at the end of the file.
        number: of the first line, from 1.
        shape: of the records before; None in the first range, which decides.
    """

    begin: int
    end: int
    number: int
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, or some lines of it.

    Attributes:
        path: absolute.
        size: bytes of text to expect.
        stamp: size in bytes and time of the last change in ns, when the file was found.
    """

    origin: Origin
    path: Path
    size: int
    stamp: tuple[int, int]
    lines: Lines | None = None


@dataclass(slots=True)
class Tally:
    """What was counted while a piece was read; `drops` holds what is no document, in the order of the file."""

    source: int
    files: int = 0
    documents: int = 0
    bytes: int = 0
    drops: list[Problem] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)


@dataclass(slots=True)
class Batch:
    """Documents, uncleaned, in the order of the file, with their tally."""

    tally: Tally
    documents: list[Document] = field(default_factory=list)
    size: int = 0

    def add(self, result: Document | Problem) -> None:
        """Take in what a value became; `size` counts characters."""
        if isinstance(result, Problem):
            self.tally.drops.append(result)
            return
        self.documents.append(result)
        self.tally.documents += 1
        self.size += result.characters

    @property
    def full(self) -> bool:
        """Whether it is time for the next one."""
        return self.size >= BATCH_CHARACTERS or len(self.tally.drops) >= _BATCH_DROPS


def read_piece(piece: Piece) -> Iterator[Batch]:
    """The documents of a piece, in one batch at least.

    Raises:
        ResourceError: the operating system refused to read the file.
    """
    with opened(piece.path, piece.origin.name) as stream:
        yield from read_stream(piece.origin, stream, piece.lines)
        status = os.fstat(stream.fileno())
    last = piece.lines is None or piece.lines.end == piece.stamp[0]
    if last and stamp(status) != piece.stamp:
        hint = "run again when it no longer changes"
        yield Batch(
            Tally(piece.origin.source, drops=[Problem(piece.origin.name, "changed while reading", "changed", hint)])
        )


def read_stream(origin: Origin, stream: IO[bytes], lines: Lines | None = None) -> Iterator[Batch]:
    """The documents of an open file, or of some lines of it.

    Args:
        stream: binary, seekable, at its start.
    """
    if lines is None:
        items, kind = read_file(origin.how, origin.suffixes, stream, origin.name)
    else:
        part = io.BufferedReader(_Part(stream, lines.begin, lines.end), _BLOCK)
        items, kind = read_jsonl(part, origin.name, lines.begin, lines.number), None
    format_, shape = "auto" if kind else origin.how.format, lines.shape if lines else None
    records = RecordReader(format_, origin.label, origin.how.fields, shape)
    table = kind is None and origin.suffixes[0] in TABLE_SUFFIXES
    before, found = lines.begin if lines else 0, False
    batch = Batch(Tally(origin.source, files=int(before == 0)))
    for item in items:
        found = True
        result = _result(item, kind, records)
        if table and isinstance(result, Problem) and result.reason == "missing_key" and records.shape is None:
            # All rows have the columns of the first: one message says it.
            batch.add(_no_columns(origin, result))
            break
        batch.add(result)
        if batch.full:
            before, batch.tally.bytes = stream.tell(), stream.tell() - before
            yield batch
            batch = Batch(Tally(origin.source))
    if not found and lines is None:
        batch.add(Problem(origin.name, "is empty", "empty"))
    batch.tally.bytes = stream.tell() - before
    batch.tally.seen = records.seen
    yield batch


def _result(item: Value | Problem, kind: Kind | None, records: RecordReader) -> Document | Problem:
    if isinstance(item, Problem):
        return item
    if kind is None:
        return records.convert(item.value, item.where)
    text: str = item.value
    filled = bool(text.strip())
    return Document(kind, records.source, item.where, text=text) if filled else Problem(item.where, "is empty", "empty")


def _no_columns(origin: Origin, first: Problem) -> Problem:
    what = first.what if origin.suffixes[0] == ".parquet" else f"{first.what} (the first row has to name the columns)"
    return replace(first, where=origin.name, what=what, reason="no_records")


class _Part(io.RawIOBase):
    """The bytes of a stream from `begin` up to `end`; closing it leaves the stream open."""

    def __init__(self, stream: IO[bytes], begin: int, end: int) -> None:
        stream.seek(begin)
        self._stream = stream
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        block = self._stream.read(min(len(buffer), self._end - self._stream.tell()))
        buffer[: len(block)] = block
        return len(block)


def stamp(status: os.stat_result) -> tuple[int, int]:
    """What changes when a file does: its size in bytes, and the time of its last change in ns."""
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def opened(file: Path, name: str = "") -> Iterator[io.BufferedReader]:
    """A file to read from.

    Args:
        name: as messages say it; by default the path itself.

    Raises:
        ResourceError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise explain(error, Path(name or printable(str(file))), "read") from error
