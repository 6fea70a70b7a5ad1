"""Cuts files into pieces that any core can read by itself; reads no more of them than that takes.

Small files stay whole, and so does what is converted. A large file of JSON Lines is cut at line ends, with the number
of each first line and the shape that its first record fixed, so that its pieces together give what the whole would.
Other large files can be read from their start only; the calling process does that, in batches.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nima_cli.engine.data.ingest.encoding import GZIP_SUFFIX
from nima_cli.engine.data.ingest.read_split import Batch, Lines, Origin, Piece, opened, read_piece, stamp
from nima_cli.engine.data.ingest.readers import Value, holds_lines, read_jsonl
from nima_cli.engine.data.ingest.records.records import RecordReader, Shape
from nima_cli.files import explain

# Bytes of a whole file or of a range of lines: small enough to share evenly, large enough that passing it on is cheap.
PIECE_BYTES = 2**20
# Text is packed 3 to 8 times smaller.
_UNPACKED = 8


def cut(origin: Origin, path: Path) -> Iterator[Piece | Batch]:
    """The pieces of a file in its order, or what is in it where it cannot be cut.

    Raises:
        ResourceError: the operating system refused to read it.
    """
    path = path.absolute()
    try:
        status = path.stat()
    except OSError as error:
        raise explain(error, Path(origin.name), "read") from error
    size = status.st_size * (_UNPACKED if origin.suffixes[1] == GZIP_SUFFIX else 1)
    whole = Piece(origin, path, size, stamp(status))
    if size <= PIECE_BYTES or origin.how.converts(origin.suffixes[0]):
        yield whole
        return
    with opened(path, origin.name) as stream:
        shape = _first_shape(origin, stream)
        if shape is not None:
            yield from _ranges(whole, stream, shape)
    if shape is None:
        yield from read_piece(whole)


def _first_shape(origin: Origin, stream: io.BufferedReader) -> Shape | None:
    """The shape of the first records, when the file can be cut; None when it cannot, or it takes more to know."""
    if not holds_lines(origin.how, origin.suffixes, stream):
        return None
    head = stream.read(PIECE_BYTES)
    records = RecordReader(origin.how.format, origin.label, origin.how.fields)
    for item in read_jsonl(io.BytesIO(head[: head.rfind(b"\n") + 1]), origin.name):
        if isinstance(item, Value):
            records.convert(item.value, item.where)
        if records.shape is not None:
            return records.shape
    return None


def _ranges(whole: Piece, stream: io.BufferedReader, shape: Shape) -> Iterator[Piece | Batch]:
    def lines(end: int) -> Piece:
        found = Lines(begin, end, number, shape if begin else None)
        return replace(whole, size=end - begin, lines=found)

    stream.seek(0)
    size = whole.stamp[0]
    begin, offset, number, line = 0, 0, 1, 1
    while (block := stream.read(min(PIECE_BYTES, size - offset))) and b"\0" not in block:
        line += block.count(b"\n")
        if last := block.rfind(b"\n") + 1:
            yield lines(offset + last)
            begin, number = offset + last, line
        offset += len(block)
    if begin < size:
        # A NUL ends reading, unless its line is overlong: only who reads the rest in order can say.
        yield from [lines(size)] if offset == size else read_piece(lines(size))
