"""What a file is by its first bytes, whatever its name says; reads no more than these."""

import re
from dataclasses import dataclass

# Bytes to look at.
HEAD = 4096


@dataclass(frozen=True, slots=True)
class Known:
    """A kind of file.

    Attributes:
        what: with its article.
        suffix: of the format that reads it; empty if none does.
        readable: its bytes are a text all the same.
    """

    what: str
    suffix: str = ""
    readable: bool = False


_MARKS = (
    (b"%PDF-", Known("a PDF document", ".pdf")),
    (b"PAR1", Known("a Parquet file", ".parquet")),
    (b"PK\x03\x04", Known("a ZIP archive")),
    (b"PK\x05\x06", Known("a ZIP archive")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Known("an old Office document")),
    (b"{\\rtf", Known("an RTF document", readable=True)),
    (b"%!PS", Known("a PostScript document", readable=True)),
    (b"\x89PNG\r\n", Known("a PNG picture")),
    (b"\xff\xd8\xff", Known("a JPEG picture")),
    (b"GIF8", Known("a GIF picture")),
    (b"\x7fELF", Known("a program")),
    (b"SQLite format 3\0", Known("an SQLite database")),
    (b"7z\xbc\xaf\x27\x1c", Known("a 7z archive")),
    (b"\xfd7zXZ\0", Known("an XZ archive")),
    (b"\x28\xb5\x2f\xfd", Known("a Zstandard archive")),
    (b"BZh9", Known("a bzip2 archive")),
    (b"Rar!\x1a\x07", Known("a RAR archive")),
    (b"ARROW1\0\0", Known("an Arrow file")),
    (b"\x89HDF\r\n", Known("an HDF5 file")),
    (b"\x93NUMPY", Known("a NumPy array")),
)
_BEFORE_HTML = rb"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--[^<]{0,2000}?-->\s*)?"
_HTML = re.compile(_BEFORE_HTML + rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_NOTEBOOK = re.compile(rb'\s*\{\s*"(?:cells|metadata|nbformat|worksheets)"\s*:')


def binary_kind(head: bytes) -> Known | None:
    """A kind that is no plain text; None if `head` may begin a text."""
    if head[257:262] == b"ustar":
        return Known("a tar archive")
    return next((known for mark, known in _MARKS if head.startswith(mark)), None)


def text_kind(head: bytes) -> str:
    """The suffix of the format that a text is in though its name does not say so; empty for plain text."""
    head = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(head):
        return ".html"
    return ".ipynb" if _NOTEBOOK.match(head) and b'"cell_type"' in head else ""
