"""Reads one file into text or JSON values, each with its place."""

import codecs
import io
from collections.abc import Iterator
from pathlib import PurePath
from typing import IO

from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError
from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest import encoding
from nima_cli.engine.data.ingest.contents import InputFile, prose_in
from nima_cli.engine.data.ingest.encoding import MAX_RECORD_BYTES, TOO_LARGE, DecodedValue, decode
from nima_cli.engine.data.ingest.formats.registry import HEAD, Format
from nima_cli.engine.data.ingest.formats.tables import read_delimited, read_parquet
from nima_cli.engine.data.ingest.records import strict_json
from nima_cli.engine.data.ingest.records.json_document import read_json

# Characters that show the format of a file.
_BEGINNING = 4096
_RAW = "to learn its text as it is, use `format: text`"


def read_file(file: InputFile, stream: IO[bytes]) -> tuple[Iterator[DecodedValue | Diagnostic], Kind | None]:
    """Return the values in a binary, seekable stream, and the kind of its documents if it holds prose, not records."""
    kind: Kind | None = None
    form: Format | None = None
    if file.container == "text":
        try:
            kind, form = prose_in(file, _head(file, stream))
        except UnusableError as error:
            return iter([error.at(file.name)]), None

    def values() -> Iterator[DecodedValue | Diagnostic]:
        try:
            yield from _values(file, stream, form)
        except UnusableError as error:
            yield error.at(file.name)
        except encoding.GZIP_ERRORS as error:
            said = str(error).rstrip(".") or type(error).__name__
            what = f"damaged gzip: {said[:1].lower()}{said[1:]}"
            yield Diagnostic(file.name, what, "damaged", "pack it again with `gzip`")

    return values(), kind


def _head(file: InputFile, stream: IO[bytes]) -> bytes:
    """The first bytes, unpacked; fewer of a damaged file, which reading reports."""
    try:
        return encoding.unpacked(stream, gzipped=file.gzipped).read(HEAD)
    except encoding.GZIP_ERRORS:
        return b""
    finally:
        stream.seek(0)


def _values(file: InputFile, stream: IO[bytes], form: Format | None) -> Iterator[DecodedValue | Diagnostic]:
    def text() -> io.BufferedReader:
        return encoding.open_utf8(stream, file.options.encoding, gzipped=file.gzipped)

    name, container = file.name, file.container
    if form is not None:
        yield DecodedValue(name, convert(form, file, stream))
    elif container == "text":
        yield from read_text(text(), name)
    elif container == "table" and file.suffix == ".parquet":
        yield from read_parquet(stream, name)
    elif container == "table":
        yield from read_delimited(text(), name, file.suffix)
    elif container == "json" or (container == "auto" and _opens_document(text())):
        yield from read_json(text, name)
    else:
        yield from read_jsonl(text(), name)


def holds_lines(file: InputFile, stream: io.BufferedReader) -> bool:
    """Whether a stream at its start is JSON Lines that can be read from any line on: neither packed nor converted."""
    lines = file.container == "jsonl" or (file.container == "auto" and not _opens_document(stream))
    return lines and file.options.encoding is None and not file.gzipped and encoding.is_plain(stream.peek(4))


def _opens_document(stream: io.BufferedReader) -> bool:
    head = stream.peek(4096)[:4096].removeprefix(codecs.BOM_UTF8).lstrip()
    return head.startswith(b"[") or head.split(b"\n", 1)[0].strip() == b"{"


def convert(form: Format, file: InputFile, stream: IO[bytes]) -> str:
    """Convert a whole file to text; raises UnusableError if that is impossible, or one of GZIP_ERRORS."""
    convert_it = form.function()
    try:
        if form.takes == "stream":
            packed = encoding.unpacked(stream, gzipped=file.gzipped)
            return convert_it(io.BytesIO(_whole(packed, form)) if file.gzipped else stream)
        if form.takes == "bytes":
            return convert_it(_whole(encoding.unpacked(stream, gzipped=file.gzipped), form), file.options.encoding)
        text = decode(_whole(encoding.open_utf8(stream, file.options.encoding, gzipped=file.gzipped), form))
        if form.sign is not None and text.strip() and not form.sign.search(text, 0, _BEGINNING):
            raise UnusableError(f"is no {form.name}, whatever its name says", "no_document", hint=_RAW)
        if form.takes == "named text":
            return convert_it(text, PurePath(file.name.removesuffix(encoding.GZIP_SUFFIX)).name)
        return convert_it(text)
    finally:
        # The position tells how much was read; some libraries jump about.
        stream.seek(0, io.SEEK_END)


def _whole(stream: io.BufferedIOBase, form: Format) -> bytes:
    data = stream.read(MAX_RECORD_BYTES + 1)
    if len(data) > MAX_RECORD_BYTES:
        what = f"{form.name} {TOO_LARGE.removeprefix('record ')}"
        raise UnusableError(what, "too_large", hint=f"divide it; {_RAW}")
    return data


def read_text(stream: io.BufferedIOBase, name: str) -> Iterator[DecodedValue]:
    """Yield the text of a file, divided at blank lines if it is longer than `MAX_RECORD_BYTES`."""
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


def read_jsonl(stream: IO[bytes], name: str, offset: int = 0, line: int = 1) -> Iterator[DecodedValue | Diagnostic]:
    """Yield the values of JSON Lines, from byte `offset` on, where line number `line` starts.

    Lines end at LF only, so that no character inside a string can end one.
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
    """Whether a first line belongs to one JSON document: it opens a list, or an object that goes on."""
    if isinstance(item, Diagnostic):
        return text.strip() in ("[", "{") or text.lstrip().startswith("[{")
    return isinstance(item.value, list) and all(isinstance(element, dict) for element in item.value)
