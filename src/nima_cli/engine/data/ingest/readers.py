"""From the bytes of one file to text or JSON values, each with its place; knows nothing of what a record means."""

import codecs
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from nima_cli.engine.data.diagnostics import Problem
from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest.contents import Contents, Refusal, container_of, contents_of, converted_by
from nima_cli.engine.data.ingest.conversion import convert
from nima_cli.engine.data.ingest.decoded_value import MAX_RECORD_BYTES, TOO_LARGE, Value, decode
from nima_cli.engine.data.ingest.encoding import GZIP_ERRORS, GZIP_SUFFIX, EncodingError, is_plain, open_utf8, unpacked
from nima_cli.engine.data.ingest.formats.registry import HEAD
from nima_cli.engine.data.ingest.formats.tables import read_delimited, read_parquet
from nima_cli.engine.data.ingest.records import strict_json
from nima_cli.engine.data.ingest.records.json_document import read_json
from nima_cli.engine.data.ingest.records.strict_json import JsonError

__all__ = ["Reading", "Value", "read_file"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read.

    Attributes:
        format: as in the configuration; `auto` goes by the suffix.
        container: as in the configuration; `auto` goes by the suffix, and for records else by the first characters.
        encoding: what files are in that are not UTF-8; None refuses them.
        fields: keys of ours -> those that stand for them in records.
        as_written: lightweight markup (reStructuredText and the like) is text, and not converted.
    """

    format: str = "auto"
    container: str = "auto"
    encoding: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    as_written: bool = False

    def converts(self, suffix: str) -> bool:
        """Whether files with this suffix are converted, each as a whole."""
        return converted_by(self.format, self.container, suffix, as_written=self.as_written) is not None


def read_file(
    how: Reading, suffixes: tuple[str, str], stream: IO[bytes], name: str
) -> tuple[Iterator[Value | Problem], Kind | None]:
    """The values of one file, and the kind of its documents when it is prose (None: it holds records).

    Args:
        suffixes: of the contents and of the file itself, see `file_kinds.suffixes`; empty for standard input.
        stream: binary, seekable, at its start.
        name: the file, for messages.
    """
    suffix, last = suffixes
    found = contents_of(how.format, how.container, suffix, lambda: _head(stream, last), as_written=how.as_written)
    if isinstance(found, Refusal):
        return iter([Problem(name, found.what, found.reason, found.hint)]), None

    def values() -> Iterator[Value | Problem]:
        try:
            yield from _values(found, how, suffixes, stream, name)
        except EncodingError as error:
            yield Problem(name, error.what, "not_utf8", "name the encoding it is really in with `--encoding`")
        except GZIP_ERRORS as error:
            what = str(error).rstrip(".") or type(error).__name__
            yield Problem(name, f"damaged gzip: {what[:1].lower()}{what[1:]}", "damaged", "pack it again with `gzip`")

    return values(), found.kind


def _values(
    found: Contents, how: Reading, suffixes: tuple[str, str], stream: IO[bytes], name: str
) -> Iterator[Value | Problem]:
    suffix, last = suffixes
    if found.format is not None:
        yield convert(found.format, stream, last, how.encoding, name)
        return
    if suffix == ".parquet" and found.container == "table":
        yield from read_parquet(stream, name)
        return
    text = open_utf8(stream, last, how.encoding)
    if found.container == "text":
        yield from read_text(text, name)
    elif found.container == "table":
        yield from read_delimited(text, name, suffix)
    elif found.container == "json" or (found.container == "auto" and _opens_document(text)):
        yield from read_json(lambda: open_utf8(stream, last, how.encoding), name)
    else:
        yield from read_jsonl(text, name)


def _head(stream: IO[bytes], last: str) -> bytes:
    """The first bytes, unpacked; fewer where a file is damaged, which reading it will say."""
    try:
        return unpacked(stream, last).read(HEAD)
    except GZIP_ERRORS:
        return b""
    finally:
        stream.seek(0)


def holds_lines(how: Reading, suffixes: tuple[str, str], stream: io.BufferedReader) -> bool:
    """Whether a file is JSON Lines that can be read from any line on: neither packed nor perhaps to be converted.

    Args:
        stream: at the start of the file.
    """
    container = container_of(how.format, how.container, suffixes[0])
    lines = container == "jsonl" or (container == "auto" and not _opens_document(stream))
    plain = how.encoding is None and suffixes[1] != GZIP_SUFFIX and is_plain(stream.peek(4))
    return lines and plain


def _opens_document(stream: io.BufferedIOBase) -> bool:
    assert isinstance(stream, io.BufferedReader)
    head = stream.peek(4096)[:4096].removeprefix(codecs.BOM_UTF8).lstrip()
    return head.startswith(b"[") or head.split(b"\n", 1)[0].strip() == b"{"


def read_text(stream: io.BufferedIOBase, name: str) -> Iterator[Value | Problem]:
    """Yield the text of a file; one longer than `MAX_RECORD_BYTES` comes in parts that end at a blank line.

    Args:
        stream: binary, at its start.
        name: the file, for messages.
    """
    offset, line, rest = 0, 1, b""
    while data := rest + stream.read(MAX_RECORD_BYTES + 1 - len(rest)):
        cut = len(data)
        if cut > MAX_RECORD_BYTES:
            blank = data.rfind(b"\n\n", MAX_RECORD_BYTES // 2)
            cut = blank + 2 if blank >= 0 else data.rfind(b"\n") + 1
            if not cut:
                yield Problem(name, TOO_LARGE.replace("record", "line"), "too_large")
                return
        part, rest = data[:cut], data[cut:]
        text = decode(part, name, offset, line)
        if isinstance(text, Problem):
            yield text
            return
        yield Value(name if line == 1 else f"{name}:{line}", text)
        offset, line = offset + cut, line + part.count(b"\n")


def read_jsonl(stream: io.BufferedIOBase, name: str, offset: int = 0, line: int = 1) -> Iterator[Value | Problem]:
    """Yield the values of JSON Lines; lines end at LF only, so that no character inside a string can end one.

    Args:
        stream: binary, at byte `offset` of the file `name`, where line number `line` starts.
    """
    first = offset == 0
    for number, raw in enumerate(iter(lambda: stream.readline(MAX_RECORD_BYTES + 1), b""), start=line):
        where = f"{name}:{number}"
        begin, offset = offset, offset + len(raw)
        if len(raw) > MAX_RECORD_BYTES:
            yield Problem(where, TOO_LARGE, "too_large")
            offset += _rest_of_line(stream, raw)
            continue
        text = decode(raw, name, begin, number)
        if isinstance(text, Problem):
            yield text
            if text.reason == "binary":
                return
        elif text.strip(" \t\r\n"):
            item = _line(text, where)
            if first and _is_document(text, item):
                hint = "give it to `--json-files`, or end its name in `.json`"
                yield Problem(where, "looks like one JSON document, not JSON Lines", "malformed", hint)
                return
            yield item
            first = False


def _rest_of_line(stream: io.BufferedIOBase, raw: bytes) -> int:
    """Read on to the end of an overlong line without keeping it; how many bytes that was."""
    size = 0
    while not raw.endswith(b"\n") and (raw := stream.readline(MAX_RECORD_BYTES)):
        size += len(raw)
    return size


def _line(text: str, where: str) -> Value | Problem:
    try:
        start = strict_json.space(text, 0)
        value, end = strict_json.decode(text, start)
        if strict_json.space(text, end) != len(text):
            raise JsonError("more than one value on a line", end)
    except JsonError as error:
        column = "" if error.position is None else f":{error.position + 1}"
        return Problem(where + column, error.what, "malformed")
    return Value(where, value)


def _is_document(text: str, item: Value | Problem) -> bool:
    """Whether the first line shows one JSON document: it opens a list, or an object that goes on."""
    if isinstance(item, Problem):
        return text.strip() in ("[", "{") or text.lstrip().startswith("[{")
    return isinstance(item.value, list) and all(isinstance(element, dict) for element in item.value)
