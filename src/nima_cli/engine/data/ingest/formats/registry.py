"""The formats that nima reads: their suffixes, their first bytes and their converters."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest.formats.code import LANGUAGES

# Bytes in which a file shows what it is.
HEAD = 4096


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    suffixes: frozenset[str]  # lower-case with the dot
    converter: str  # `module:function` in this package, loaded on first use
    # The arguments of the converter: the text, the text and the file's name, the bytes, or an open file.
    takes: Literal["text", "named text", "bytes", "stream"] = "text"
    kind: Kind = "markdown"
    lightweight: bool = False  # can also be read as it is written
    sign: re.Pattern[str] | None = None  # what every file holds near its start

    def function(self) -> Callable[..., str]:
        return cast(Callable[..., str], pkgutil.resolve_name(f"{__package__}.{self.converter}"))


# Any file may end in a number; manual pages begin with requests of roff.
MAN = Format(
    "man page",
    frozenset({*(f".{section}" for section in range(1, 9)), ".man"}),
    "roff.man:man_to_markdown",
    sign=re.compile(r"^[.'][ \t]*(?:(?:TH|Dd|Dt|SH|Sh|so)\b|\\\")", re.MULTILINE),
)
CODE = Format("source code", frozenset(LANGUAGES), "code:code_to_markdown", "named text")
FORMATS = (
    Format("HTML", frozenset({".html", ".htm", ".xhtml"}), "html.html:html_bytes_to_markdown", "bytes"),
    Format("notebook", frozenset({".ipynb"}), "notebook:notebook_to_markdown"),
    Format("PDF", frozenset({".pdf"}), "office:pdf_to_text", "stream", kind="text"),
    Format("DOCX", frozenset({".docx"}), "office:docx_to_markdown", "bytes"),
    Format("reStructuredText", frozenset({".rst"}), "rst.rst:rst_to_markdown", lightweight=True),
    Format("AsciiDoc", frozenset({".adoc", ".asciidoc"}), "asciidoc.asciidoc:asciidoc_to_markdown", lightweight=True),
    Format("Org", frozenset({".org"}), "org:org_to_markdown", lightweight=True),
    MAN,
    CODE,
)
_BY_SUFFIX = {suffix: form for form in FORMATS for suffix in form.suffixes}
# Code is converted only on request.
CONVERTED_SUFFIXES = frozenset(_BY_SUFFIX) - CODE.suffixes
LIGHTWEIGHT_SUFFIXES = frozenset(suffix for suffix, form in _BY_SUFFIX.items() if form.lightweight)


def format_of(suffix: str, *, as_written: bool = False) -> Format | None:
    """Return the format to convert from; None for plain text, records and, if `as_written`, lightweight markup."""
    return None if as_written and suffix in LIGHTWEIGHT_SUFFIXES else _BY_SUFFIX.get(suffix)


@dataclass(frozen=True, slots=True)
class BinaryKind:
    what: str  # with its article
    suffix: str = ""  # of the format that reads it
    readable: bool = False  # as text all the same


_UNREADABLE = {
    b"PK\x03\x04": "a ZIP archive", b"PK\x05\x06": "a ZIP archive", b"\x89PNG\r\n": "a PNG picture",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office document", b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture", b"\x7fELF": "a program", b"SQLite format 3\0": "an SQLite database",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"\xfd7zXZ\0": "an XZ archive", b"BZh9": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive", b"Rar!\x1a\x07": "a RAR archive", b"ARROW1\0\0": "an Arrow file",
    b"\x89HDF\r\n": "an HDF5 file", b"\x93NUMPY": "a NumPy array",
}  # fmt: skip
_MARKS = {mark: BinaryKind(what) for mark, what in _UNREADABLE.items()} | {
    b"%PDF-": BinaryKind("a PDF document", ".pdf"),
    b"PAR1": BinaryKind("a Parquet file", ".parquet"),
    b"{\\rtf": BinaryKind("an RTF document", readable=True),
    b"%!PS": BinaryKind("a PostScript document", readable=True),
}
_BEFORE_HTML = rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--[^<]{0,2000}?-->\s*)?"
_HTML = re.compile(_BEFORE_HTML + rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_NOTEBOOK = re.compile(rb'\s*\{\s*"(?:cells|metadata|nbformat|worksheets)"\s*:')


def binary_kind(head: bytes) -> BinaryKind | None:
    """Recognise a binary file by its first bytes; None if it may be text."""
    if head[257:262] == b"ustar":
        return BinaryKind("a tar archive")
    return next((kind for mark, kind in _MARKS.items() if head.startswith(mark)), None)


def text_kind(head: bytes) -> str:
    """Recognise HTML and notebooks by their first bytes; returns their suffix, empty for plain text."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(head):
        return ".html"
    return ".ipynb" if _NOTEBOOK.match(head) and b'"cell_type"' in head else ""


def library(name: str, format_: str) -> Any:
    """Import a module of the extra `docs`; raises `UnusableError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        what = f"{format_} is read with `{name.partition('.')[0]}`, which is not installed"
        raise UnusableError(what, "needs_extra", hint="install it: `pip install 'nima[docs]'`") from error


def first_line(error: Exception) -> str:
    """Turn a library's message about a damaged file into a part of our own."""
    said = (str(error).strip().split("\n")[0] or type(error).__name__)[:200].rstrip(".")
    return said[:1].lower() + said[1:]
