"""What readers give: values with their places, and strict UTF-8 text."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nima_cli.engine.data.diagnostics import UnusableError

MAX_RECORD_BYTES = 16 * 2**20
TOO_LARGE = f"record larger than {MAX_RECORD_BYTES // 2**20} MB"
_BLOCK = 2**18
_HINT = "name its encoding, such as `encoding=windows-1252`, or convert it: `iconv -f WINDOWS-1252 -t UTF-8`"


@dataclass(frozen=True, slots=True)
class DecodedValue:
    """Text of a document, or a decoded JSON value, and where it began."""

    where: str
    value: Any


def decode(data: bytes, offset: int = 0, line: int = 1) -> str:
    """Strict UTF-8 without its byte-order mark.

    Args:
        data: bytes of a file from byte `offset`, which is on `line`.

    Raises:
        UnusableError: not UTF-8, or binary; names the byte with its offset and line.
    """
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
    """The text of a stream in blocks that are never empty.

    Raises:
        UnusableError: as for `decode`.
    """
    offset, line, rest, block = 0, 1, b"", b"?"
    while block:
        block = stream.read(_BLOCK)
        data = rest + block
        # A character that the end of the block cuts off waits for the next one.
        tail = data[-3:] if block else b""
        cut = len(data) - len(tail) + codecs.utf_8_decode(tail, "ignore")[1]
        if text := decode(data[:cut], offset, line):
            yield text
        rest, offset, line = data[cut:], offset + cut, line + data.count(b"\n", 0, cut)
