"""From the bytes of a file to bytes of UTF-8 text: gzip, byte-order marks, other encodings; knows nothing of contents.

Readers see UTF-8 only. What is UTF-8 already passes through untouched, so that the readers can name the byte that is
not. All is done in blocks: memory does not depend on the size of the file.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable
from typing import IO, Final

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
# What reading a damaged stream raises, besides `EncodingError`.
GZIP_ERRORS: Final = (EOFError, gzip.BadGzipFile, zlib.error)


class EncodingError(ValueError):
    """Bytes that are not in the encoding they were said or seen to be in.

    Attributes:
        what: lower-case, no final stop; with the byte, its offset and its line.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def open_utf8(stream: IO[bytes], suffix: str, encoding: str | None) -> io.BufferedIOBase:
    """`stream` unpacked if it is gzip and converted if it is UTF-16 or UTF-32 with a mark, or no UTF-8.

    Args:
        stream: binary, seekable, at its start.
        suffix: last suffix of the file, lower-case; a name that ends in `.gz` promises gzip.
        encoding: what bytes are in that are not UTF-8; None leaves them for the readers to refuse.

    Raises:
        gzip.BadGzipFile: `.gz` without gzip inside.
    """

    def opened() -> io.BufferedIOBase:
        stream.seek(0)
        return unpacked(stream, suffix)

    plain = opened()
    head = _peek(plain)
    wide = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), None)
    if wide is not None:
        plain.read(len(wide[0]))
        return _converted(plain, wide[1], len(wide[0]))
    if encoding is not None and not _is_utf8(plain):
        return _converted(opened(), encoding, 0)
    return opened() if encoding is not None else plain


def is_plain(head: bytes) -> bool:
    """Whether a file that begins with `head` (4 bytes or more) is neither gzip nor marked as UTF-16 or UTF-32."""
    return not head.startswith((_GZIP_MARK, *(mark for mark, _ in _MARKS)))


def unpacked(stream: IO[bytes], suffix: str) -> io.BufferedIOBase:
    """`stream` from its start, unpacked if it is gzip.

    Args:
        stream: binary, seekable.
        suffix: last suffix of the file, lower-case; a name that ends in `.gz` promises gzip.

    Raises:
        gzip.BadGzipFile: `.gz` without gzip inside.
    """
    stream.seek(0)
    packed = stream.read(2) == _GZIP_MARK
    stream.seek(0)
    if packed:
        # A buffer over it: `GzipFile.readline` is slow.
        return io.BufferedReader(gzip.GzipFile(fileobj=stream, mode="rb"), _BLOCK)
    if suffix == GZIP_SUFFIX and stream.read(1):
        raise gzip.BadGzipFile("no gzip file, whatever its name says")
    stream.seek(0)
    return io.BufferedReader(_Borrowed(stream.read), _BLOCK)


def _peek(stream: io.BufferedIOBase) -> bytes:
    assert isinstance(stream, io.BufferedReader)
    return stream.peek(4)[:4]


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


class _Borrowed(io.RawIOBase):
    """Reads through a function; closing it leaves what the function reads from open."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        block = self._read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _converted(stream: io.BufferedIOBase, encoding: str, offset: int) -> io.BufferedIOBase:
    return io.BufferedReader(_Borrowed(_Converter(stream, encoding, offset).read), _BLOCK)


class _Converter:
    """Hands out as UTF-8 what a stream holds in another encoding."""

    def __init__(self, stream: io.BufferedIOBase, encoding: str, offset: int) -> None:
        self._stream, self._encoding, self._offset = stream, encoding, offset
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1
        self._ready = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        while not self._ready and not self._ended:
            block = self._stream.read(_BLOCK)
            self._ended = not block
            text = self._decode(block)
            self._ready = text.encode("utf-8")
            self._line += text.count("\n")
            self._offset += len(block)
        block, self._ready = self._ready[:size], self._ready[size:]
        return block

    def _decode(self, block: bytes) -> str:
        held = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(block, final=not block)
            text.encode("utf-8")  # some decoders let halves of characters through
        except UnicodeDecodeError as error:
            at = self._offset - held + error.start
            bad = error.object[error.start]
            before = error.object[: error.start].decode(self._encoding, "ignore").count("\n")
            name = self._encoding.upper()
            raise EncodingError(
                f"byte 0x{bad:02x} at offset {at} (line {self._line + before}) is not {name}"
            ) from error
        except UnicodeEncodeError as error:
            line = self._line + error.object.count("\n", 0, error.start)
            raise EncodingError(f"holds half a character (line {line}) in {self._encoding.upper()}") from error
        return text
