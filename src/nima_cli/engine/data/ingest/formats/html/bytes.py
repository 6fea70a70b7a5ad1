"""The bytes of an HTML page to Markdown: finds out what encoding they are in, as a browser would, but by trying."""

import codecs
import re

from nima_cli.engine.data.ingest.formats.errors import FormatError
from nima_cli.engine.data.ingest.formats.html.html import html_to_markdown

_DECLARED = re.compile(
    rb"""(?:\bcharset\s*=\s*|<\?xml[^>]{0,100}\bencoding\s*=\s*)["']?\s*([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE
)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Browsers read these as their supersets.
_SUPERSETS = {
    "iso-8859-1": "windows-1252", "latin1": "windows-1252", "latin-1": "windows-1252", "ascii": "windows-1252",
    "us-ascii": "windows-1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "x-sjis": "cp932",
    "euc-kr": "cp949", "iso-8859-9": "cp1254", "tis-620": "cp874",
}  # fmt: skip
_WHERE = 4096


def html_bytes_to_markdown(data: bytes, encoding: str | None) -> str:
    """The page in UTF-8 where it is that, whatever it says; else in the encoding that it declares, else in `encoding`.

    Raises:
        FormatError: it is in none of them.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return html_to_markdown(_decoded(data[len(mark) :], name))
    nul = data.find(b"\0")
    if nul >= 0:
        raise FormatError(f"looks binary (NUL at byte {nul})", "binary")
    try:
        return html_to_markdown(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        other = _declared(data) or encoding
        if other is None:
            raise _not(error, data, "UTF-8") from error
        return html_to_markdown(_decoded(data, other))


def _declared(data: bytes) -> str | None:
    found = _DECLARED.search(data, 0, _WHERE)
    name = found[1].decode("ascii").lower() if found else ""
    name = _SUPERSETS.get(name, name)
    try:
        b"x".decode(name)
    except (LookupError, ValueError):
        return None
    return None if "utf" in name else codecs.lookup(name).name


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "cp1252":
            # Five of its bytes mean nothing; browsers show nothing for them.
            return data.decode(encoding, "ignore")
        raise _not(error, data, encoding.upper()) from error


def _not(error: UnicodeDecodeError, data: bytes, encoding: str) -> FormatError:
    line = 1 + data.count(b"\n", 0, error.start)
    what = f"byte 0x{data[error.start]:02x} at offset {error.start} (line {line}) is not {encoding}"
    return FormatError(what, "not_utf8", hint="name the encoding it is really in: `data.encoding`")
