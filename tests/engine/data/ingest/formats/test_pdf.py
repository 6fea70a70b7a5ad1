"""The text of PDF documents, with `pypdf`; those without text say why."""

import io
from typing import Any

import pytest

from nima_cli.engine.data.ingest.formats.errors import FormatError
from nima_cli.engine.data.ingest.formats.pdf import pdf_to_text
from tests.engine.data.ingest.formats.office import pdf

pypdf: Any = pytest.importorskip("pypdf")


def test_pages_without_running_heads_and_numbers() -> None:
    words = [f"Words of page {number} are " for number in range(1, 6)]
    pages = [["The Manual", f"{text}exam-", "ples of text.", text[14]] for text in words]
    bodies = "\n\n".join(f"{text}examples of text." for text in words)
    assert pdf_to_text(io.BytesIO(pdf(*pages))) == f"The Manual\n{bodies}\n"


def test_pictures_alone() -> None:
    with pytest.raises(FormatError, match="holds no text") as caught:
        pdf_to_text(io.BytesIO(pdf([])))
    assert caught.value.reason == "no_text"


def test_encrypted() -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(["secret"])))
    writer.encrypt("word", algorithm="RC4-128")
    data = io.BytesIO()
    writer.write(data)
    with pytest.raises(FormatError, match="encrypted"):
        pdf_to_text(data)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4\nnothing", pdf(["x"])[:200]])
def test_damaged(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        pdf_to_text(io.BytesIO(data))
    assert "\n" not in caught.value.what
