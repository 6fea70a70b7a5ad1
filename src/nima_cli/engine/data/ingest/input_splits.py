"""Splits files into parts that any core can read by itself, and reads them.

Small files stay whole, and so does what is converted. A large file of JSON Lines is split at line ends, with the number
of each first line and the shape that its first record fixed, so that its splits together give what the whole would.
Other large files can be read from their start only; the calling process does that, in batches.

What is read depends on the split and on what lies on disk alone, so that any process of any machine that sees the file
may read it.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import Document, Kind
from nima_cli.engine.data.ingest.contents import TABLE_SUFFIXES, ReadOptions
from nima_cli.engine.data.ingest.decoded_value import DecodedValue
from nima_cli.engine.data.ingest.encoding import buffered
from nima_cli.engine.data.ingest.readers import holds_lines, read_file, read_jsonl
from nima_cli.engine.data.ingest.records.record_values import RecordNotes
from nima_cli.engine.data.ingest.records.records import RecordReader, Shape
from nima_cli.files import explain

# Bytes of a whole file or of a range of lines: small enough to share evenly, large enough that passing it on is cheap.
SPLIT_BYTES = 2**20
# Text is packed 3 to 8 times smaller.
_UNPACKED = 8
# Characters of documents, or dropped records, that are held at once while a file is read.
_BATCH_CHARACTERS = 2**18
_BATCH_DROPS = 2**12


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, or standard input.

    Attributes:
        source: index in the list of sources, for the counts.
        label: number written into the documents as their source.
        name: for messages.
        suffix: of the contents, lower-case; empty for standard input.
        gzipped: whether the name ends in `.gz`.
    """

    source: int
    label: int
    name: str
    suffix: str
    gzipped: bool
    options: ReadOptions

    def records(self, shape: Shape | None = None) -> RecordReader:
        """What makes documents of its records."""
        return RecordReader(self.options.format, self.label, self.options.fields, shape)


@dataclass(frozen=True, slots=True)
class LineRange:
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
class InputSplit:
    """A file, or some lines of it.

    Attributes:
        path: absolute.
        size: bytes of text to expect.
        stamp: size in bytes and time of the last change in ns, when the file was found.
    """

    file: InputFile
    path: Path
    size: int
    stamp: tuple[int, int]
    lines: LineRange | None = None


@dataclass(slots=True)
class ReadCounts:
    """What was counted while a split was read; `drops` holds what is no document, in the order of the file."""

    source: int
    files: int = 0
    documents: int = 0
    bytes: int = 0
    drops: list[Diagnostic] = field(default_factory=list)
    notes: RecordNotes = field(default_factory=RecordNotes)


@dataclass(slots=True)
class DocumentBatch:
    """Documents, uncleaned, in the order of the file; `size` counts their characters."""

    counts: ReadCounts
    documents: list[Document] = field(default_factory=list)
    size: int = 0

    def add(self, result: Document | Diagnostic) -> None:
        """Take in what a value became."""
        if isinstance(result, Diagnostic):
            self.counts.drops.append(result)
            return
        self.documents.append(result)
        self.counts.documents += 1
        self.size += result.characters

    @property
    def full(self) -> bool:
        """Whether it is time for the next one."""
        return self.size >= _BATCH_CHARACTERS or len(self.counts.drops) >= _BATCH_DROPS


def split_file(file: InputFile, path: Path) -> Iterator[InputSplit | DocumentBatch]:
    """The splits of a file in its order, or what is in it where it cannot be split.

    Raises:
        ResourceError: the operating system refused to read it.
    """
    path = path.absolute()
    try:
        status = path.stat()
    except OSError as error:
        raise explain(error, Path(file.name), "read") from error
    size = status.st_size * (_UNPACKED if file.gzipped else 1)
    whole = InputSplit(file, path, size, _stamp(status))
    if size <= SPLIT_BYTES or file.options.converted_from(file.suffix) is not None:
        yield whole
        return
    with _opened(whole) as stream:
        shape = _first_shape(file, stream)
        if shape is not None:
            yield from _ranges(whole, stream, shape)
    if shape is None:
        yield from read_split(whole)


def _first_shape(file: InputFile, stream: io.BufferedReader) -> Shape | None:
    """The shape of the first records, when the file can be split; None when it cannot, or it takes more to know."""
    if not holds_lines(file.options, file.suffix, stream, gzipped=file.gzipped):
        return None
    head = stream.read(SPLIT_BYTES)
    records = file.records()
    for item in read_jsonl(io.BytesIO(head[: head.rfind(b"\n") + 1]), file.name):
        if isinstance(item, DecodedValue):
            records.convert(item.value, item.where)
        if records.shape is not None:
            return records.shape
    return None


def _ranges(whole: InputSplit, stream: io.BufferedReader, shape: Shape) -> Iterator[InputSplit | DocumentBatch]:
    def lines(end: int) -> InputSplit:
        found = LineRange(begin, end, number, shape if begin else None)
        return replace(whole, size=end - begin, lines=found)

    stream.seek(0)
    size = whole.stamp[0]
    begin, offset, number, line = 0, 0, 1, 1
    while (block := stream.read(min(SPLIT_BYTES, size - offset))) and b"\0" not in block:
        line += block.count(b"\n")
        if last := block.rfind(b"\n") + 1:
            yield lines(offset + last)
            begin, number = offset + last, line
        offset += len(block)
    if begin < size:
        # A NUL ends reading, unless its line is overlong: only who reads the rest in order can say.
        yield from [lines(size)] if offset == size else read_split(lines(size))


def read_split(split: InputSplit) -> Iterator[DocumentBatch]:
    """The documents of a split, in one batch at least.

    Raises:
        ResourceError: the operating system refused to read the file.
    """
    with _opened(split) as stream:
        yield from read_stream(split.file, stream, split.lines)
        status = os.fstat(stream.fileno())
    last = split.lines is None or split.lines.end == split.stamp[0]
    if last and _stamp(status) != split.stamp:
        hint = "run again when it no longer changes"
        changed = Diagnostic(split.file.name, "changed while reading", "changed", hint)
        yield DocumentBatch(ReadCounts(split.file.source, drops=[changed]))


def read_stream(file: InputFile, stream: IO[bytes], lines: LineRange | None = None) -> Iterator[DocumentBatch]:
    """The documents of an open file, or of some lines of it.

    Args:
        stream: binary, seekable, at its start.
    """
    kind: Kind | None = None
    if lines is None:
        items, kind = read_file(file.options, file.suffix, stream, file.name, gzipped=file.gzipped)
    else:
        items = read_jsonl(_part(stream, lines), file.name, lines.begin, lines.number)
    records = file.records(lines.shape if lines else None)
    table = kind is None and file.suffix in TABLE_SUFFIXES
    before, found = lines.begin if lines else 0, False
    batch = DocumentBatch(ReadCounts(file.source, files=int(before == 0)))
    for item in items:
        found = True
        result = _result(item, kind, records)
        if table and isinstance(result, Diagnostic) and result.reason == "missing_key" and records.shape is None:
            # All rows have the columns of the first: one message says it.
            batch.add(_no_columns(file, result))
            break
        batch.add(result)
        if batch.full:
            before, batch.counts.bytes = stream.tell(), stream.tell() - before
            yield batch
            batch = DocumentBatch(ReadCounts(file.source))
    if not found and lines is None:
        batch.add(Diagnostic(file.name, "is empty", "empty"))
    batch.counts.bytes = stream.tell() - before
    batch.counts.notes = records.notes
    yield batch


def _part(stream: IO[bytes], lines: LineRange) -> io.BufferedReader:
    stream.seek(lines.begin)
    return buffered(lambda size: stream.read(min(size, lines.end - stream.tell())))


def _result(item: DecodedValue | Diagnostic, kind: Kind | None, records: RecordReader) -> Document | Diagnostic:
    if isinstance(item, Diagnostic):
        return item
    if kind is None:
        return records.convert(item.value, item.where)
    if not item.value.strip():
        return Diagnostic(item.where, "is empty", "empty")
    return Document(kind, records.source, item.where, text=item.value)


def _no_columns(file: InputFile, first: Diagnostic) -> Diagnostic:
    what = first.what if file.suffix == ".parquet" else f"{first.what} (the first row has to name the columns)"
    return replace(first, where=file.name, what=what, reason="no_records")


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _opened(split: InputSplit) -> Iterator[io.BufferedReader]:
    try:
        with split.path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise explain(error, Path(split.file.name), "read") from error
