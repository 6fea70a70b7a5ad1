"""A whole file in one of the formats to the text of one document; knows nothing of suffixes."""

import io
from pathlib import PurePath
from typing import IO

from nima_cli.engine.data.diagnostics import Problem
from nima_cli.engine.data.ingest.decoded_value import MAX_RECORD_BYTES, TOO_LARGE, Value, decode
from nima_cli.engine.data.ingest.encoding import GZIP_SUFFIX, open_utf8, unpacked
from nima_cli.engine.data.ingest.formats.errors import FormatError
from nima_cli.engine.data.ingest.formats.registry import Format

# Characters in which a file shows what it is.
_BEGINNING = 4096
_RAW = "to learn its text as it is, use `format: text`"
_HINT = f"divide it; {_RAW}"


def convert(form: Format, stream: IO[bytes], last: str, encoding: str | None, name: str) -> Value | Problem:
    """The document, or why it cannot be had.

    Args:
        stream: binary, seekable, at its start.
        last: suffix of the file, see `file_kinds.suffixes`.
        encoding: what files are in that are not UTF-8; None refuses them.
        name: the file, for messages.

    Raises:
        EncodingError, GZIP_ERRORS: see `encoding`.
    """
    try:
        return _converted(form, stream, last, encoding, name)
    except FormatError as error:
        return Problem(name + error.place, error.what, error.reason, error.hint)
    finally:
        # What was read is counted by where the stream is; some libraries jump about.
        stream.seek(0, io.SEEK_END)


def _converted(form: Format, stream: IO[bytes], last: str, encoding: str | None, name: str) -> Value | Problem:
    function = form.function()
    if form.takes == "stream":
        packed = unpacked(stream, last)
        return Value(name, function(io.BytesIO(_whole(packed, form)) if last == GZIP_SUFFIX else stream))
    if form.takes == "bytes":
        return Value(name, function(_whole(unpacked(stream, last), form), encoding))
    text = decode(_whole(open_utf8(stream, last, encoding), form), name)
    if isinstance(text, Problem):
        return text
    if form.sign is not None and text.strip() and not form.sign.search(text, 0, _BEGINNING):
        raise FormatError(f"is no {form.name}, whatever its name says", "no_document", hint=_RAW)
    if form.takes == "named text":
        return Value(name, function(text, PurePath(name.removesuffix(GZIP_SUFFIX)).name))
    return Value(name, function(text))


def _whole(stream: io.BufferedIOBase, form: Format) -> bytes:
    data = stream.read(MAX_RECORD_BYTES + 1)
    if len(data) > MAX_RECORD_BYTES:
        raise FormatError(f"{form.name} {TOO_LARGE.removeprefix('record ')}", "too_large", hint=_HINT)
    return data
