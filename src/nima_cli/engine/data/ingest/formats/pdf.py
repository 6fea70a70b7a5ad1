"""PDF documents to text, page by page, with the extra `docs`; knows nothing of layout."""

import logging
import re
import warnings
from collections import Counter
from typing import IO

from nima_cli.engine.data.ingest.formats.errors import FormatError, library

_PAGE_NUMBER = re.compile(r"(?:page\s+)?\d{1,4}(?:\s*(?:/|of)\s*\d{1,4})?", re.IGNORECASE)
_HYPHENATED = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
_DIGITS = re.compile(r"\d+")
# A line at the edge of so many pages, and of so large a share of them, is the title of a book or of a chapter.
_RUNNING = 3
_SHARE = 0.05


def pdf_to_text(stream: IO[bytes]) -> str:
    """The text of all pages, without page numbers and running heads.

    Args:
        stream: seekable.

    Raises:
        FormatError: `pypdf` is not installed, or the file is encrypted, damaged, or holds pictures alone.
    """
    pypdf = library("pypdf", "PDF")
    # It tells of every oddity that it mends; what matters comes as an exception.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader = pypdf.PdfReader(stream)
            if reader.is_encrypted and not reader.decrypt(""):
                raise FormatError("is encrypted", "encrypted", hint="remove its password: `qpdf --decrypt IN OUT`")
            pages = [page.extract_text() for page in reader.pages]
        except FormatError:
            raise
        except pypdf.errors.DependencyError as error:
            raise FormatError("is encrypted in a way that needs `cryptography`", "encrypted") from error
        except Exception as error:  # whatever a damaged file makes a parser stumble over
            raise FormatError(f"damaged PDF: {_first_line(error)}") from error
    text = "\n\n".join(filter(None, _bodies(pages)))
    if not text.strip():
        hint = "it may be scanned: recognise its text first, as with `ocrmypdf`"
        raise FormatError("holds no text, only pictures", "no_text", hint=hint)
    return text.encode("utf-8", "ignore").decode() + "\n"


def _first_line(error: Exception) -> str:
    said = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
    return said[:1].lower() + said[1:200]


def _bodies(pages: list[str]) -> list[str]:
    """The pages without what is printed on many of them, and words joined that a line end hyphenated."""
    split = [[line.rstrip() for line in page.replace("\0", "").split("\n") if line.strip()] for page in pages]
    edges = Counter(_key(line) for lines in split for line in {*lines[:1], *lines[-1:]})
    running = {key for key, count in edges.items() if count >= max(_RUNNING, _SHARE * len(split))}
    for number, lines in enumerate(split):
        # On the first page the title stands for itself.
        _strip_edge(lines, 0, running if number else set())
        _strip_edge(lines, -1, running)
    return [_HYPHENATED.sub("", "\n".join(lines)) for lines in split]


def _strip_edge(lines: list[str], edge: int, running: set[str]) -> None:
    while lines and (_PAGE_NUMBER.fullmatch(lines[edge].strip()) or _key(lines[edge]) in running):
        del lines[edge]


def _key(line: str) -> str:
    """Equal for lines that differ in the number of the page."""
    return _DIGITS.sub("0", " ".join(line.split()))
