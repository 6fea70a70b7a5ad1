"""Bytes become UTF-8 text, or an error with the byte and the line: gzip, marks, other encodings, in bounded memory."""

import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.diagnostics import Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.encoding import open_utf8
from nima_cli.engine.data.ingest.sources import open_sources
from nima_cli.errors import DataError
from tests.engine.data.reading import documents_of

TEXT = "Grüße — 你好 😀\nzweite Zeile\n" * 3


def read(path: Path, data: bytes, encoding: str | None = None) -> list[Document]:
    path.write_bytes(data)
    [source] = open_sources([SourceConfig(path=str(path))], encoding)
    problems = Diagnostics()
    documents = list(documents_of(source, problems))
    problems.raise_if_any()
    return documents


def converted(data: bytes) -> bytes:
    return open_utf8(io.BytesIO(data), None, gzipped=False).read()


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_mark_tells_the_encoding(tmp_path: Path, mark: str, pack: "type[bytes]") -> None:
    assert [document.text for document in read(tmp_path / "x.md", pack(TEXT.encode(mark)))] == [TEXT]
    record = json.dumps([{"text": TEXT}], ensure_ascii=False)
    assert [document.text for document in read(tmp_path / "x.json", pack(record.encode(mark)))] == [TEXT]


@pytest.mark.parametrize(("mark", "codec"), [(b"\xfe\xff", "utf-16-be"), (b"\0\0\xfe\xff", "utf-32-be")])
def test_big_endian(mark: bytes, codec: str) -> None:
    assert converted(mark + TEXT.encode(codec)) == TEXT.encode()


def test_what_is_not_utf8_names_the_byte_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"byte 0xfc at offset 6 \(line 2\) is not UTF-8") as caught:
        read(tmp_path / "x.txt", "abc\nGrüße".encode("latin-1"))
    assert "`encoding=windows-1252`" in str(caught.value.hint)
    assert "`iconv -f WINDOWS-1252 -t UTF-8`" in str(caught.value.hint)


def test_a_named_encoding_is_for_files_that_are_not_utf8(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", "Grüße".encode("cp1252"), "cp1252")[0].text == "Grüße"
    assert read(tmp_path / "b.txt", "Grüße".encode(), "cp1252")[0].text == "Grüße"
    assert read(tmp_path / "c.txt", "Grüße, alle".encode("utf-16-le"), "utf-16-le")[0].text == "Grüße, alle"
    assert read(tmp_path / "d.txt", "plain only".encode("utf-16-le"), "utf-16-le")[0].text == "plain only"
    assert read(tmp_path / "e.txt.gz", gzip.compress("Grüße".encode("cp1252")), "cp1252")[0].text == "Grüße"


def test_what_is_not_in_the_named_encoding_names_its_byte(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"byte 0x8e at offset 300003 \(line 100002\) is not SHIFT_JIS"):
        read(tmp_path / "a.txt", b"ab\n" * 100_001 + b"\x8e\xff", "shift_jis")
    with pytest.raises(DataError, match=r"byte 0x81 at offset 3 \(line 2\) is not CP1252"):
        read(tmp_path / "a.txt", b"ab\n\x81 and \xe9", "cp1252")


@pytest.mark.parametrize("name", ["no-such", "base64", "hex", "undefined"])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no text encoding known here"):
        DataConfig(encoding=name)


DAMAGED = {
    "cut": gzip.compress(TEXT.encode() * 99)[:-12],
    "changed": gzip.compress(TEXT.encode())[:-8] + b"\0" * 8,
    "garbage": b"\x1f\x8b" + b"\7" * 90,
    "no gzip": b"plain text",
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("name", ["x.md.gz", "x.json.gz", "x.jsonl.gz"])
def test_damaged_gzip_is_one_plain_line(tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / name, DAMAGED[kind])
    assert caught.value.message.startswith(f"{tmp_path / name}: damaged gzip: ")
    assert "\n" not in caught.value.message


def test_an_empty_file_named_gz_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "x.md.gz", b"") == []


def test_packed_lines_of_any_size_take_bounded_memory(tmp_path: Path) -> None:
    line = json.dumps({"text": "words " * 200}).encode() + b"\n"
    path = tmp_path / "x.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(40_000):
            stream.write(line)
    [source] = open_sources([SourceConfig(path=str(path))])
    tracemalloc.start()
    assert sum(1 for _ in documents_of(source, Diagnostics())) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # the lines are 48 MB


@given(st.text(max_size=60), st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]), st.booleans())
def test_every_text_comes_back(text: str, codec: str, packed: bool) -> None:
    data = text.encode(codec, "surrogatepass")
    try:
        wanted = text.encode()
    except UnicodeEncodeError:
        return
    if codec == "utf-16" and text.startswith("\0"):
        return  # the same bytes as the mark of UTF-32
    result = converted(gzip.compress(data) if packed else data)
    assert result.removeprefix(b"\xef\xbb\xbf") == wanted.removeprefix(b"\xef\xbb\xbf") or text.startswith("\ufeff")
