"""What readers give: values with their places, and text that is strict UTF-8; knows nothing of formats."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nima_cli.engine.data.diagnostics import Problem

MAX_RECORD_BYTES = 16 * 2**20
TOO_LARGE = f"record larger than {MAX_RECORD_BYTES // 2**20} MB"
_BLOCK = 2**18


@dataclass(frozen=True, slots=True)
class Value:
    """Text of a document, or a decoded JSON value, and where it began."""

    where: str
    value: Any


class UndecodableError(Exception):
    """Bytes that are no text; `problem` says which."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def decode(data: bytes, name: str, offset: int = 0, line: int = 1) -> str | Problem:
    """Strict UTF-8 with its byte-order mark dropped; anything else is a problem with byte, offset and line.

    Args:
        data: bytes of the file `name` from byte `offset`, which is on `line`.
    """
    if offset == 0 and data.startswith(codecs.BOM_UTF8):
        data, offset = data[3:], 3
    nul = data.find(b"\0")
    if nul >= 0:
        return Problem(name, f"looks binary (NUL at byte {offset + nul})", "binary")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        what = f"byte 0x{data[error.start]:02x} at offset {offset + error.start} (line {at}) is not UTF-8"
        hint = "name its encoding, such as `--encoding windows-1252`, or convert it: `iconv -f WINDOWS-1252 -t UTF-8`"
        return Problem(name, what, "not_utf8", hint)


def text_blocks(stream: io.BufferedIOBase, name: str) -> Iterator[str]:
    """The text of a stream in blocks, none of them empty.

    Raises:
        UndecodableError: as for `decode`; what came before was yielded.
    """
    offset, line, rest = 0, 1, b""
    while block := stream.read(_BLOCK):
        data = rest + block
        cut = len(data) - _unfinished(data)
        if text := _decoded(data[:cut], name, offset, line):
            yield text
        rest, offset, line = data[cut:], offset + cut, line + data.count(b"\n", 0, cut)
    if rest:
        yield _decoded(rest, name, offset, line)


def _decoded(data: bytes, name: str, offset: int, line: int) -> str:
    text = decode(data, name, offset, line)
    if isinstance(text, Problem):
        raise UndecodableError(text)
    return text


def _unfinished(data: bytes) -> int:
    """Bytes at the end that begin a character and do not end it."""
    for back, byte in enumerate(reversed(data[-3:]), start=1):
        if byte >= 0xC0:
            return back if back < 2 + (byte >= 0xE0) + (byte >= 0xF0) else 0
        if byte < 0x80:
            return 0
    return 0
