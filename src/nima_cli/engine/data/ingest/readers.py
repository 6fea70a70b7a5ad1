"""From the bytes of one file to text or JSON values, each with its place."""

import codecs
import io
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO

from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError
from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest.contents import FileContents, ReadOptions, contents_of
from nima_cli.engine.data.ingest.decoded_value import MAX_RECORD_BYTES, TOO_LARGE, DecodedValue, decode
from nima_cli.engine.data.ingest.encoding import GZIP_ERRORS, GZIP_SUFFIX, is_plain, open_utf8, unpacked
from nima_cli.engine.data.ingest.formats.registry import HEAD, Format
from nima_cli.engine.data.ingest.formats.tables import read_delimited, read_parquet
from nima_cli.engine.data.ingest.records import strict_json
from nima_cli.engine.data.ingest.records.json_document import read_json

# Characters in which a file shows what it is.
_BEGINNING = 4096
_RAW = "to learn its text as it is, use `format: text`"


def read_file(
    options: ReadOptions, suffix: str, stream: IO[bytes], name: str, *, gzipped: bool = False
) -> tuple[Iterator[DecodedValue | Diagnostic], Kind | None]:
    """The values of one file, and the kind of its documents when it is prose (None: it holds records).

    Args:
        suffix: of the contents; empty for standard input.
        stream: binary, seekable, at its start.
        name: the file, for messages.
        gzipped: whether its name ends in `.gz`.
    """
    try:
        contents = contents_of(options, suffix, lambda: _head(stream, gzipped))
    except UnusableError as error:
        return iter([error.at(name)]), None

    def values() -> Iterator[DecodedValue | Diagnostic]:
        try:
            yield from _values(contents, options, suffix, stream, name, gzipped)
        except UnusableError as error:
            yield error.at(name)
        except GZIP_ERRORS as error:
            what = str(error).rstrip(".") or type(error).__name__
            what = f"damaged gzip: {what[:1].lower()}{what[1:]}"
            yield Diagnostic(name, what, "damaged", "pack it again with `gzip`")

    return values(), contents.kind


def _head(stream: IO[bytes], gzipped: bool) -> bytes:
    """The first bytes, unpacked; fewer where a file is damaged, which reading it will say."""
    try:
        return unpacked(stream, gzipped=gzipped).read(HEAD)
    except GZIP_ERRORS:
        return b""
    finally:
        stream.seek(0)


def _values(
    contents: FileContents, options: ReadOptions, suffix: str, stream: IO[bytes], name: str, gzipped: bool
) -> Iterator[DecodedValue | Diagnostic]:
    def text() -> io.BufferedReader:
        return open_utf8(stream, options.encoding, gzipped=gzipped)

    if contents.format is not None:
        yield DecodedValue(name, convert(contents.format, stream, options.encoding, name, gzipped=gzipped))
    elif contents.container == "text":
        yield from read_text(text(), name)
    elif contents.container == "table":
        yield from read_parquet(stream, name) if suffix == ".parquet" else read_delimited(text(), name, suffix)
    elif contents.container == "json" or (contents.container == "auto" and _opens_document(text())):
        yield from read_json(text, name)
    else:
        yield from read_jsonl(text(), name)


def holds_lines(options: ReadOptions, suffix: str, stream: io.BufferedReader, *, gzipped: bool) -> bool:
    """Whether a file is JSON Lines that can be read from any line on: neither packed nor perhaps to be converted.

    Args:
        stream: at the start of the file.
    """
    container = options.container_of(suffix)
    lines = container == "jsonl" or (container == "auto" and not _opens_document(stream))
    return lines and options.encoding is None and not gzipped and is_plain(stream.peek(4))


def _opens_document(stream: io.BufferedReader) -> bool:
    head = stream.peek(4096)[:4096].removeprefix(codecs.BOM_UTF8).lstrip()
    return head.startswith(b"[") or head.split(b"\n", 1)[0].strip() == b"{"


def convert(form: Format, stream: IO[bytes], encoding: str | None, name: str, *, gzipped: bool) -> str:
    """The text of a file in a format that is converted as a whole.

    Args:
        stream: binary, seekable, at its start.
        encoding: of files that are not UTF-8; None refuses them.
        name: the file, for messages.

    Raises:
        UnusableError: it cannot be converted.
        GZIP_ERRORS: see `encoding`.
    """
    convert_it = form.function()
    try:
        if form.takes == "stream":
            packed = unpacked(stream, gzipped=gzipped)
            return convert_it(io.BytesIO(_whole(packed, form)) if gzipped else stream)
        if form.takes == "bytes":
            return convert_it(_whole(unpacked(stream, gzipped=gzipped), form), encoding)
        text = decode(_whole(open_utf8(stream, encoding, gzipped=gzipped), form))
        if form.sign is not None and text.strip() and not form.sign.search(text, 0, _BEGINNING):
            raise UnusableError(f"is no {form.name}, whatever its name says", "no_document", hint=_RAW)
        if form.takes == "named text":
            return convert_it(text, PurePath(name.removesuffix(GZIP_SUFFIX)).name)
        return convert_it(text)
    finally:
        # What was read is counted by where the stream is; some libraries jump about.
        stream.seek(0, io.SEEK_END)


def _whole(stream: io.BufferedIOBase, form: Format) -> bytes:
    data = stream.read(MAX_RECORD_BYTES + 1)
    if len(data) > MAX_RECORD_BYTES:
        what = f"{form.name} {TOO_LARGE.removeprefix('record ')}"
        raise UnusableError(what, "too_large", hint=f"divide it; {_RAW}")
    return data


def read_text(stream: io.BufferedIOBase, name: str) -> Iterator[DecodedValue]:
    """Yield the text of a file; one longer than `MAX_RECORD_BYTES` comes in parts that end at a blank line.

    Args:
        stream: binary, at its start.
        name: the file, for messages.

    Raises:
        UnusableError: what follows is no UTF-8, or a line without an end.
    """
    offset, line, rest = 0, 1, b""
    while data := rest + stream.read(MAX_RECORD_BYTES + 1 - len(rest)):
        cut = len(data)
        if cut > MAX_RECORD_BYTES:
            blank = data.rfind(b"\n\n", MAX_RECORD_BYTES // 2)
            cut = blank + 2 if blank >= 0 else data.rfind(b"\n") + 1
            if not cut:
                raise UnusableError(TOO_LARGE.replace("record", "line"), "too_large")
        part, rest = data[:cut], data[cut:]
        yield DecodedValue(name if line == 1 else f"{name}:{line}", decode(part, offset, line))
        offset, line = offset + cut, line + part.count(b"\n")


def read_jsonl(
    stream: io.BufferedIOBase, name: str, offset: int = 0, line: int = 1
) -> Iterator[DecodedValue | Diagnostic]:
    """Yield the values of JSON Lines; lines end at LF only, so that no character inside a string can end one.

    Args:
        stream: binary, at byte `offset` of the file `name`, where line number `line` starts.
    """
    first = offset == 0
    for number, raw in enumerate(iter(lambda: stream.readline(MAX_RECORD_BYTES + 1), b""), start=line):
        where = f"{name}:{number}"
        begin, offset = offset, offset + len(raw)
        if len(raw) > MAX_RECORD_BYTES:
            yield Diagnostic(where, TOO_LARGE, "too_large")
            while not raw.endswith(b"\n") and (raw := stream.readline(MAX_RECORD_BYTES)):
                offset += len(raw)
            continue
        try:
            text = decode(raw, begin, number)
        except UnusableError as error:
            yield error.at(name)
            if error.reason == "binary":
                return
            continue
        if text.strip(" \t\r\n"):
            item = _line(text, where)
            if first and _is_document(text, item):
                hint = "give it to `json_files=`, or end its name in `.json`"
                yield Diagnostic(where, "looks like one JSON document, not JSON Lines", "malformed", hint)
                return
            yield item
            first = False


def _line(text: str, where: str) -> DecodedValue | Diagnostic:
    try:
        return DecodedValue(where, strict_json.loads(text))
    except strict_json.JsonError as error:
        return error.at(where if error.position is None else f"{where}:{error.position + 1}")


def _is_document(text: str, item: DecodedValue | Diagnostic) -> bool:
    """Whether the first line shows one JSON document: it opens a list, or an object that goes on."""
    if isinstance(item, Diagnostic):
        return text.strip() in ("[", "{") or text.lstrip().startswith("[{")
    return isinstance(item.value, list) and all(isinstance(element, dict) for element in item.value)
