"""PDF and Word documents are read with `pypdf` and `mammoth`; those without text say why."""

import io
import zipfile
from typing import Any

import pytest

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.formats.office import docx_to_markdown, pdf_to_text
from tests.engine.data.ingest.formats.office import docx, pdf

pypdf: Any = pytest.importorskip("pypdf")
pytest.importorskip("mammoth")


def test_pages_without_running_heads_and_numbers() -> None:
    words = [f"Words of page {number} are " for number in range(1, 6)]
    pages = [["The Manual", f"{text}exam-", "ples of text.", text[14]] for text in words]
    bodies = "\n\n".join(f"{text}examples of text." for text in words)
    assert pdf_to_text(io.BytesIO(pdf(*pages))) == f"The Manual\n{bodies}\n"


def test_pictures_alone() -> None:
    with pytest.raises(UnusableError, match="holds no text") as caught:
        pdf_to_text(io.BytesIO(pdf([])))
    assert caught.value.reason == "no_text"


def test_encrypted() -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["secret"])))
    writer.encrypt("word", algorithm="RC4-128")
    data = io.BytesIO()
    writer.write(data)
    with pytest.raises(UnusableError, match="encrypted"):
        pdf_to_text(data)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4\nnothing", pdf(["x"])[:200]])
def test_damaged_pdf(data: bytes) -> None:
    with pytest.raises(UnusableError) as caught:
        pdf_to_text(io.BytesIO(data))
    assert "\n" not in caught.value.what


def test_headings_and_text() -> None:
    data = docx(("Heading1", "A Title"), ("Normal", "Some words."), ("Heading2", "Part"), ("Normal", "More."))
    assert docx_to_markdown(data) == "# A Title\n\nSome words.\n\n## Part\n\nMore.\n"


def _zip(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, "x")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "damaged Word document"),
        (b"PK\x03\x04 and no more", "damaged Word document"),
        (_zip("a.txt"), "is no Word document: it holds no `word/document.xml`"),
        (_zip("word/document.xml"), "damaged Word document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an encrypted or old Word document, not DOCX"),
    ],
)
def test_what_is_no_word_document(data: bytes, what: str) -> None:
    with pytest.raises(UnusableError) as caught:
        docx_to_markdown(data)
    assert caught.value.what == what
