"""Word documents become Markdown, with `mammoth`."""

import io
import zipfile

import pytest

from nima_cli.engine.data.ingest.formats.docx import docx_to_markdown
from nima_cli.engine.data.ingest.formats.errors import FormatError
from tests.engine.data.ingest.formats.office import docx

pytest.importorskip("mammoth")


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
def test_what_is_none(data: bytes, what: str) -> None:
    with pytest.raises(FormatError) as caught:
        docx_to_markdown(data)
    assert caught.value.what == what
