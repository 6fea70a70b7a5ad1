"""Turns PDF into text and DOCX into Markdown, with the extra `docs`; whatever is wrong comes as an `UnusableError`."""

import io
import logging
import re
import warnings
import zipfile
from collections import Counter
from typing import IO

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.formats.html.html import html_to_markdown
from nima_cli.engine.data.ingest.formats.registry import first_line, library

_PAGE_NUMBER = re.compile(r"(?:page\s+)?\d{1,4}(?:\s*(?:/|of)\s*\d{1,4})?", re.IGNORECASE)
_HYPHENATED = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
# A running head stands at the edge of at least so many pages, and of such a share of them.
_RUNNING = 3
_SHARE = 0.05
_MAX_UNPACKED_BYTES = 256 * 2**20


def pdf_to_text(stream: IO[bytes]) -> str:
    """Extract the text of all pages from a seekable stream, without page numbers and running heads."""
    pypdf = library("pypdf", "PDF")
    # It logs every oddity that it repairs; what matters is raised.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader = pypdf.PdfReader(stream)
            if reader.is_encrypted and not reader.decrypt(""):
                raise UnusableError("is encrypted", "encrypted", hint="remove its password, as `qpdf` does")
            pages = [page.extract_text() for page in reader.pages]
        except UnusableError:
            raise
        except pypdf.errors.DependencyError as error:
            raise UnusableError("is encrypted in a way that needs `cryptography`", "encrypted") from error
        except Exception as error:  # damaged files raise whatever the parser stumbles over
            raise UnusableError(f"damaged PDF: {first_line(error)}") from error
    text = "\n\n".join(filter(None, _bodies(pages)))
    if not text.strip():
        hint = "it may be scanned: recognise its text first, as with `ocrmypdf`"
        raise UnusableError("holds no text, only pictures", "no_text", hint=hint)
    return text.encode("utf-8", "ignore").decode() + "\n"


def _bodies(pages: list[str]) -> list[str]:
    """Remove running heads and page numbers, and join hyphenated words."""
    split = [[line.rstrip() for line in page.replace("\0", "").split("\n") if line.strip()] for page in pages]
    edges = Counter(_key(line) for lines in split for line in {*lines[:1], *lines[-1:]})
    running = {key for key, count in edges.items() if count >= max(_RUNNING, _SHARE * len(split))}
    for number, lines in enumerate(split):
        # The title on the first page stays.
        for edge, heads in ((0, running if number else set()), (-1, running)):
            while lines and (_PAGE_NUMBER.fullmatch(lines[edge].strip()) or _key(lines[edge]) in heads):
                del lines[edge]
    return [_HYPHENATED.sub("", "\n".join(lines)) for lines in split]


def _key(line: str) -> str:
    """Make lines equal that differ only in numbers, as of pages."""
    return re.sub(r"\d+", "0", " ".join(line.split()))


def docx_to_markdown(data: bytes, encoding: str | None = None) -> str:
    """Convert a Word document, whose encoding is its own, with headings, lists, tables, links, words for pictures."""
    mammoth = library("mammoth", "DOCX")
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        hint = "save it again as DOCX without a password"
        raise UnusableError("is an encrypted or old Word document, not DOCX", "encrypted", hint=hint)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if "word/document.xml" not in archive.namelist():
                raise UnusableError("is no Word document: it holds no `word/document.xml`")
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED_BYTES:
                raise UnusableError(f"is larger than {_MAX_UNPACKED_BYTES // 2**20} MB when unpacked", "too_large")
        no_picture = mammoth.images.img_element(lambda _: {})
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=no_picture).value
    except UnusableError:
        raise
    except Exception as error:  # damaged files raise whatever the parser stumbles over
        raise UnusableError("damaged Word document") from error
    return html_to_markdown(html)
