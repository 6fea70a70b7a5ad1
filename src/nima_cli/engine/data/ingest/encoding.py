"""From the bytes of a file to bytes of UTF-8 text: gzip, byte-order marks and other encodings.

What is UTF-8 already passes through untouched, so that the readers can name the byte that is not. All is done in
blocks: memory does not depend on the size of the file.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final

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
# What reading a damaged stream raises.
GZIP_ERRORS: Final = (EOFError, gzip.BadGzipFile, zlib.error)


class _Borrowed(io.RawIOBase):
    """Reads through a function; closing it leaves open what the function reads from."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        block = self._read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def buffered(read: Callable[[int], bytes]) -> io.BufferedReader:
    """A stream of what `read` gives for a number of bytes; closing it closes nothing else."""
    return io.BufferedReader(_Borrowed(read), _BLOCK)


def unpacked(stream: IO[bytes], *, gzipped: bool) -> io.BufferedReader:
    """`stream` from its start, unpacked if it is gzip.

    Args:
        stream: binary, seekable.
        gzipped: the name of the file promises gzip.

    Raises:
        gzip.BadGzipFile: no gzip, though promised.
    """
    stream.seek(0)
    packed = stream.read(2) == _GZIP_MARK
    stream.seek(0)
    if packed:
        # A buffer over it: `GzipFile.readline` is slow.
        return io.BufferedReader(gzip.GzipFile(fileobj=stream, mode="rb"), _BLOCK)
    if gzipped and stream.read(1):
        raise gzip.BadGzipFile("no gzip file, whatever its name says")
    stream.seek(0)
    return buffered(stream.read)


def open_utf8(stream: IO[bytes], encoding: str | None, *, gzipped: bool) -> io.BufferedReader:
    """`stream` unpacked if it is gzip, and converted if it has a mark of UTF-16 or UTF-32, or is not UTF-8.

    Args:
        stream: binary, seekable.
        encoding: of files that are not UTF-8; None leaves their bytes for the readers to refuse.
        gzipped: the name of the file promises gzip.

    Raises:
        gzip.BadGzipFile: no gzip, though promised.
        UnusableError: from reading, bytes that are not in that encoding.
    """
    plain = unpacked(stream, gzipped=gzipped)
    head = plain.peek(4)
    for mark, name in _MARKS:
        if head.startswith(mark):
            plain.read(len(mark))
            return _stream_of(_converted(plain, name, len(mark)))
    if encoding is None:
        return plain
    is_utf8 = _is_utf8(plain)
    plain = unpacked(stream, gzipped=gzipped)
    return plain if is_utf8 else _stream_of(_converted(plain, encoding, 0))


def is_plain(head: bytes) -> bool:
    """Whether a file that begins with `head` (4 bytes or more) is neither gzip nor marked as UTF-16 or UTF-32."""
    return not head.startswith((_GZIP_MARK, *(mark for mark, _ in _MARKS)))


def _is_utf8(stream: io.BufferedIOBase) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := stream.read(_BLOCK):
            # UTF-16 of plain English is good UTF-8, full of NUL.
            if b"\0" in block:
                return False
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _stream_of(blocks: Iterator[bytes]) -> io.BufferedReader:
    rest = b""

    def read(size: int) -> bytes:
        nonlocal rest
        rest = rest or next(blocks, b"")
        block, rest = rest[:size], rest[size:]
        return block

    return buffered(read)


def _converted(stream: io.BufferedIOBase, encoding: str, offset: int) -> Iterator[bytes]:
    """UTF-8 of what a stream holds in another encoding, from byte `offset` of the file on."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, block = 1, b"?"
    while block:
        block = stream.read(_BLOCK)
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
            data = text.encode("utf-8")  # some decoders let halves of characters through
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
