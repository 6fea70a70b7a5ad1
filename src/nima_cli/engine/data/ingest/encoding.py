"""Turns the bytes of a file into UTF-8 block by block (gzip, byte-order marks, other encodings), and UTF-8 into text.

UTF-8 passes through untouched on the way to `decode`, which names a byte that is not.
"""

import codecs
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from nima_cli.engine.data.diagnostics import UnusableError

GZIP_SUFFIX = ".gz"
_GZIP_MARK = b"\x1f\x8b"
_BLOCK = 2**18
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Raised when reading a damaged stream.
GZIP_ERRORS: Final = (EOFError, gzip.BadGzipFile, zlib.error)
MAX_RECORD_BYTES = 16 * 2**20
TOO_LARGE = f"record larger than {MAX_RECORD_BYTES // 2**20} MB"
_HINT = "name its encoding, such as `encoding=windows-1252`, or convert it: `iconv -f WINDOWS-1252 -t UTF-8`"


@dataclass(frozen=True, slots=True)
class DecodedValue:
    """The text of a document or a decoded JSON value, and where it began."""

    where: str
    value: Any


def decode(data: bytes, offset: int = 0, line: int = 1) -> str:
    """Decode UTF-8 found at byte `offset` and `line` of a file, without its byte-order mark; errors name the byte."""
    if offset == 0 and data.startswith(codecs.BOM_UTF8):
        data, offset = data[3:], 3
    nul = data.find(b"\0")
    if nul >= 0:
        raise UnusableError(f"looks binary (NUL at byte {offset + nul})", "binary")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        what = f"byte 0x{data[error.start]:02x} at offset {offset + error.start} (line {line}) is not UTF-8"
        raise UnusableError(what, "not_utf8", hint=_HINT) from error


def text_blocks(stream: io.BufferedIOBase) -> Iterator[str]:
    """Decode a stream in blocks that are never empty; raises UnusableError as `decode` does."""
    offset, line, rest, block = 0, 1, b"", b"?"
    while block:
        block = stream.read(_BLOCK)
        data = rest + block
        # A character cut in two by the end of the block waits for the next block.
        tail = data[-3:] if block else b""
        cut = len(data) - len(tail) + codecs.utf_8_decode(tail, "ignore")[1]
        if text := decode(data[:cut], offset, line):
            yield text
        rest, offset, line = data[cut:], offset + cut, line + data.count(b"\n", 0, cut)


class _Blocks(io.RawIOBase):
    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        rest = self._rest or next(self._blocks, b"")
        block, self._rest = rest[: len(buffer)], rest[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)


def stream_of(blocks: Iterator[bytes]) -> io.BufferedReader:
    """Make a buffered stream of blocks, none of them empty; closing it closes nothing else."""
    return io.BufferedReader(_Blocks(blocks), _BLOCK)


def unpacked(stream: IO[bytes], *, gzipped: bool) -> io.BufferedReader:
    """Rewind a seekable stream, and unpack gzip; raises BadGzipFile if only the name says so (`gzipped`)."""
    stream.seek(0)
    packed = stream.read(2) == _GZIP_MARK
    stream.seek(0)
    if packed:
        # Buffered, because `GzipFile.readline` is slow.
        return io.BufferedReader(gzip.GzipFile(fileobj=stream, mode="rb"), _BLOCK)
    if gzipped and stream.read(1):
        raise gzip.BadGzipFile("no gzip file, whatever its name says")
    stream.seek(0)
    return stream_of(iter(lambda: stream.read(_BLOCK), b""))


def open_utf8(stream: IO[bytes], encoding: str | None, *, gzipped: bool) -> io.BufferedReader:
    """Unpack a seekable stream, and convert it from UTF-16 or UTF-32 if marked so, or from `encoding` if not UTF-8.

    Reading it raises UnusableError at bytes that are not in that encoding.
    """
    plain = unpacked(stream, gzipped=gzipped)
    head = plain.peek(4)
    for mark, name in _MARKS:
        if head.startswith(mark):
            plain.read(len(mark))
            return stream_of(_converted(plain, name, len(mark)))
    if encoding is None:
        return plain
    try:
        # English in UTF-16 is valid UTF-8, but full of NUL, which is refused here too.
        deque(text_blocks(plain), maxlen=0)
    except UnusableError:
        return stream_of(_converted(unpacked(stream, gzipped=gzipped), encoding, 0))
    return unpacked(stream, gzipped=gzipped)


def is_plain(head: bytes) -> bool:
    """Whether the first 4 bytes of a file or more mark it as neither gzip, UTF-16 nor UTF-32."""
    return not head.startswith((_GZIP_MARK, *(mark for mark, _ in _MARKS)))


def _converted(stream: io.BufferedIOBase, encoding: str, offset: int) -> Iterator[bytes]:
    """Convert a stream, which begins at byte `offset` of its file, to UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, block = 1, b"?"
    while block:
        block = stream.read(_BLOCK)
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
            data = text.encode("utf-8")  # some decoders let surrogates through
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, "ignore").count("\n")
            bad, at = error.object[error.start], offset - held + error.start
            raise _not_in(f"byte 0x{bad:02x} at offset {at} (line {line}) is not {encoding.upper()}") from error
        except UnicodeEncodeError as error:
            line += error.object.count("\n", 0, error.start)
            raise _not_in(f"holds half a character (line {line}) in {encoding.upper()}") from error
        if data:
            yield data
        offset, line = offset + len(block), line + text.count("\n")


def _not_in(what: str) -> UnusableError:
    return UnusableError(what, "not_utf8", hint="name the encoding it is really in with `encoding=`")
