"""What encoding a page is in is found out as a browser would, and better: by trying UTF-8 first."""

import pytest

from nima_cli.engine.data.ingest.formats.errors import FormatError
from nima_cli.engine.data.ingest.formats.html.bytes import html_bytes_to_markdown

TEXT = "naïve “café”"


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ('<meta charset="windows-1252">', "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=ISO-8859-1">', "cp1252"),
        ('<?xml version="1.0" encoding="windows-1252"?>', "cp1252"),
        ('<meta charset="iso-8859-1">', "utf-8"),
        ('<meta charset="nonsense">', "utf-8"),
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("", "utf-16"),
    ],
)
def test_declared_and_found_encodings(declared: str, written: str) -> None:
    data = f"{declared}<p>{TEXT}".encode(written)
    assert html_bytes_to_markdown(data, None) == f"{TEXT}\n"


def test_an_encoding_that_the_user_names() -> None:
    assert html_bytes_to_markdown("<p>привет".encode("cp1251"), "cp1251") == "привет\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<p>\n\xff", "byte 0xff at offset 4 (line 2) is not UTF-8"),
        (b"<meta charset=base64><p>\xff", "byte 0xff at offset 24 (line 1) is not UTF-8"),
        (b"<p>a\0b", "looks binary (NUL at byte 4)"),
    ],
)
def test_bytes_in_no_encoding(data: bytes, what: str) -> None:
    with pytest.raises(FormatError) as caught:
        html_bytes_to_markdown(data, None)
    assert caught.value.what == what
