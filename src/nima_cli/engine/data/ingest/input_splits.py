"""Splits files into parts that any process can read by itself, and reads them.

Small and converted files stay whole. A large file of JSON Lines is split at line ends; each split carries the number of
its first line and the shape that the first record fixed, so that the splits together give what the whole would.
Other large files can only be read from their start; the calling process does that, in batches.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import Document, Kind
from nima_cli.engine.data.ingest.contents import TABLE_SUFFIXES, InputFile
from nima_cli.engine.data.ingest.encoding import DecodedValue, stream_of
from nima_cli.engine.data.ingest.readers import holds_lines, read_file, read_jsonl
from nima_cli.engine.data.ingest.records.conversations import RecordNotes
from nima_cli.engine.data.ingest.records.records import RecordReader, Shape
from nima_cli.files import explaining

# Bytes of a split: small enough to share evenly, large enough that passing it on is cheap.
SPLIT_BYTES = 2**20
_READ_BYTES = 2**18
# gzip makes text 3 to 8 times smaller.
_UNPACKED = 8
# Characters of documents, or dropped records, in one batch.
_BATCH_CHARACTERS = 2**18
_BATCH_DROPS = 2**12


@dataclass(frozen=True, slots=True)
class LineRange:
    """Whole lines between two byte offsets; the number of the first one, from 1; and the shape fixed before them."""

    begin: int
    end: int
    number: int
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class InputSplit:
    file: InputFile
    path: Path
    size: int  # bytes of text to expect
    stamp: tuple[int, int]  # size in bytes and modification time in ns when the file was found
    lines: LineRange | None = None


@dataclass(slots=True)
class ReadCounts:
    """Counts of what was read, and what gave no document, in the order of the file."""

    source: int
    files: int = 0
    documents: int = 0
    bytes: int = 0
    drops: list[Diagnostic] = field(default_factory=list)
    notes: RecordNotes = field(default_factory=RecordNotes)


@dataclass(slots=True)
class DocumentBatch:
    """Uncleaned documents in the order of the file; `size` counts their characters."""

    counts: ReadCounts
    documents: list[Document] = field(default_factory=list)
    size: int = 0

    def add(self, result: Document | Diagnostic) -> None:
        if isinstance(result, Diagnostic):
            self.counts.drops.append(result)
            return
        self.documents.append(result)
        self.counts.documents += 1
        self.size += result.characters

    @property
    def full(self) -> bool:
        return self.size >= _BATCH_CHARACTERS or len(self.counts.drops) >= _BATCH_DROPS


def split_file(file: InputFile, path: Path) -> Iterator[InputSplit | DocumentBatch]:
    """Yield the splits of a file, or its documents where it cannot be split; raises ResourceError if refused."""
    with explaining(Path(file.name), "read"):
        status = path.stat()
        size = status.st_size * (_UNPACKED if file.gzipped else 1)
        whole = InputSplit(file, path.absolute(), size, (status.st_size, status.st_mtime_ns))
        if size <= SPLIT_BYTES or file.converted_from is not None:
            yield whole
            return
        with path.open("rb") as stream:
            if shape := _first_shape(file, stream):
                yield from _ranges(whole, stream, shape)
                return
    yield from read_split(whole)


def _first_shape(file: InputFile, stream: io.BufferedReader) -> Shape | None:
    """The shape of the first records; None if the file cannot be split, or more must be read to know."""
    if not holds_lines(file, stream):
        return None
    head = stream.read(SPLIT_BYTES)
    records = _reader(file, None)
    for item in read_jsonl(io.BytesIO(head[: head.rfind(b"\n") + 1]), file.name):
        if isinstance(item, DecodedValue):
            records.convert(item.value, item.where)
        if records.shape is not None:
            return records.shape
    return None


def _reader(file: InputFile, shape: Shape | None) -> RecordReader:
    return RecordReader(file.options.format, file.label, file.options.fields, shape)


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
        # A NUL ends reading, unless its line is overlong: only reading the rest in order can tell.
        yield from [lines(size)] if offset == size else read_split(lines(size))


def read_split(split: InputSplit) -> Iterator[DocumentBatch]:
    """Yield the documents of a split in at least one batch; raises ResourceError if the system refuses to read."""
    with explaining(Path(split.file.name), "read"), split.path.open("rb") as stream:
        yield from read_stream(split.file, stream, split.lines)
        status = os.fstat(stream.fileno())
    last = split.lines is None or split.lines.end == split.stamp[0]
    if last and (status.st_size, status.st_mtime_ns) != split.stamp:
        hint = "run again when it no longer changes"
        changed = Diagnostic(split.file.name, "changed while reading", "changed", hint)
        yield DocumentBatch(ReadCounts(split.file.source, drops=[changed]))


def read_stream(file: InputFile, stream: IO[bytes], lines: LineRange | None = None) -> Iterator[DocumentBatch]:
    """Yield the documents of a binary, seekable stream at its start, or of some lines of it."""
    kind: Kind | None = None
    if lines is None:
        items, kind = read_file(file, stream)
    else:
        stream.seek(lines.begin)
        blocks = iter(lambda: stream.read(min(_READ_BYTES, lines.end - stream.tell())), b"")
        items = read_jsonl(stream_of(blocks), file.name, lines.begin, lines.number)
    records = _reader(file, lines.shape if lines else None)
    table = kind is None and file.suffix in TABLE_SUFFIXES
    before, found = lines.begin if lines else 0, False
    batch = DocumentBatch(ReadCounts(file.source, files=int(before == 0)))
    for item in items:
        found = True
        result = _result(item, kind, records)
        if table and isinstance(result, Diagnostic) and result.reason == "missing_key" and records.shape is None:
            # All rows have the columns of the first, so one message is enough.
            what = f"{result.what}{' (the first row has to name the columns)' * (file.suffix != '.parquet')}"
            batch.add(replace(result, where=file.name, what=what, reason="no_records"))
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


def _result(item: DecodedValue | Diagnostic, kind: Kind | None, records: RecordReader) -> Document | Diagnostic:
    if isinstance(item, Diagnostic):
        return item
    if kind is None:
        return records.convert(item.value, item.where)
    if not item.value.strip():
        return Diagnostic(item.where, "is empty", "empty")
    return Document(kind, records.source, item.where, text=item.value)
