"""What a file holds is told by its name and its bytes, and each kind goes to its reader or is refused by name."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.diagnostics import Diagnostics, UnusableError
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.formats.registry import FORMATS, MAN, Format
from nima_cli.engine.data.ingest.readers import convert
from nima_cli.engine.data.ingest.sources import open_sources
from nima_cli.engine.data.input_report import SourceReport
from nima_cli.errors import DataError
from tests.engine.data.ingest.formats.office import docx, pdf
from tests.engine.data.reading import documents_of, report_of

NOTEBOOK = json.dumps(
    {"cells": [{"cell_type": "markdown", "source": "# Note"}, {"cell_type": "code", "source": "1", "outputs": [5]}]}
)
PAGE = "<!DOCTYPE html><title>T</title><p>words"


def read(
    path: Path, *, include_code: bool = False, as_written: bool = False, **config: Any
) -> tuple[list[Document], SourceReport]:
    sources = [SourceConfig.model_validate({"path": str(path), **config})]
    [source] = open_sources(sources, include_code=include_code, as_written=as_written)
    problems, report = Diagnostics(), report_of(source)
    documents = list(documents_of(source, problems, report))
    problems.raise_if_any()
    return documents, report


def text_of(path: Path, **config: Any) -> tuple[str, str]:
    [document], _ = read(path, **config)
    return document.kind, document.text


def refusal(path: Path, **config: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(path, **config)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("container", ["auto", "text"])
@pytest.mark.parametrize(
    ("name", "data", "kind", "text"),
    [
        ("a.html", PAGE, "markdown", "# T\n\nwords\n"),
        ("a.HTM", PAGE, "markdown", "# T\n\nwords\n"),
        ("a.xhtml", PAGE, "markdown", "# T\n\nwords\n"),
        ("a.txt", PAGE, "markdown", "# T\n\nwords\n"),
        ("a", f"<!-- saved -->\n{PAGE}", "markdown", "# T\n\nwords\n"),
        ("a.ipynb", NOTEBOOK, "markdown", "# Note\n\n```python\n1\n```\n"),
        ("a.text", NOTEBOOK, "markdown", "# Note\n\n```python\n1\n```\n"),
        ("a.qmd", "# Q\n\n```{r}\n1\n```", "markdown", "# Q\n\n```{r}\n1\n```"),
        ("a.Rmd", "# R", "markdown", "# R"),
        ("a.mkd", "# M", "markdown", "# M"),
        ("README", "read me", "text", "read me"),
        ("a.py", "x = 1", "markdown", "# a.py\n\n```python\nx = 1\n```\n"),
        ("a.pdf", pdf(["Some words."]), "text", "Some words.\n"),
        ("a.txt", pdf(["Some words."]), "text", "Some words.\n"),
        ("a.docx", docx(("Heading1", "T"), ("Normal", "w")), "markdown", "# T\n\nw\n"),
    ],
)
def test_documents_go_to_their_readers(
    tmp_path: Path, container: str, name: str, data: str | bytes, kind: str, text: str
) -> None:
    data = data if isinstance(data, bytes) else data.encode()
    (tmp_path / name).write_bytes(data)
    assert text_of(tmp_path / name, container=container) == (kind, text)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(data))
    assert text_of(packed, container=container) == (kind, text)


RAW = [("a.html", PAGE), ("a.ipynb", NOTEBOOK), ("a.csv", "a,b\n1,2"), ("a.rst", "*x*"), ("a", PAGE)]


@pytest.mark.parametrize("format_", ["text", "markdown"])
@pytest.mark.parametrize(("name", "data"), RAW)
def test_a_format_that_is_named_forces_the_text_as_it_is(tmp_path: Path, format_: str, name: str, data: str) -> None:
    (tmp_path / name).write_text(data)
    assert text_of(tmp_path / name, format=format_) == (format_, data)


@pytest.mark.parametrize("format_", ["auto", "text"])
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04....", "is a ZIP archive, not text"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture, not text"),
        (b"PAR1abc", "is a Parquet file, not text"),
        (b"x" * 257 + b"ustar\x0000", "is a tar archive, not text"),
        (b"\x7fELF\x02", "is a program, not text"),
    ],
)
@pytest.mark.parametrize("name", ["a", "a.txt", "a.md", "a.py", "a.dat", "a.ipynb"])
def test_binary_files_are_refused_by_name(tmp_path: Path, name: str, data: bytes, what: str, format_: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert refusal(tmp_path / name, format=format_).message == f"{tmp_path / name}: {what}"


def test_a_pdf_that_shall_be_read_as_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(["words"]))
    assert "is a PDF document, not text" in refusal(tmp_path / "a.pdf", format="text").message


def test_tables_given_as_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\na,b\n")
    error = refusal(tmp_path / "a.csv", container="text")
    assert error.message == f"{tmp_path / 'a.csv'}: holds records, and is given as text"
    assert error.hint is not None
    assert "data.sources" in error.hint


def test_rows_are_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,question,answer\n1,"Why, and\nhow?",So.\n\n2,What?,That.\n')
    documents, report = read(tmp_path / "a.csv")
    assert [(one.kind, one.where, one.turns[0].content) for one in documents] == [
        ("qa", f"{tmp_path / 'a.csv'}:2", "Why, and\nhow?"),
        ("qa", f"{tmp_path / 'a.csv'}:5", "What?"),
    ]
    assert [*report.all_notes()] == ["keys not used: `id`"]
    (tmp_path / "b.tsv").write_text("title\ttext\nT\twords\n")
    assert text_of(tmp_path / "b.tsv") == ("markdown", "# T\n\nwords")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"prompt;completion\na;b\n"))
    assert read(tmp_path / "c.csv.gz", format="qa")[0][0].turns[1].content == "b"


def test_parquet_rows_are_records(tmp_path: Path) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    parquet.write_table(arrow.Table.from_pylist([chat, chat]), tmp_path / "a.parquet")
    documents, report = read(tmp_path / "a.parquet")
    assert [(one.kind, one.where) for one in documents] == [
        ("chat", f"{tmp_path / 'a.parquet'} (row {row})") for row in (1, 2)
    ]
    assert report.bytes == (tmp_path / "a.parquet").stat().st_size


def test_tables_without_known_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("date,price\n" + "1,2\n" * 50)
    (tmp_path / "b.md").write_text("words")
    error = refusal(tmp_path / "a.csv")
    assert "keys found: `date`, `price` (the first row has to name the columns)" in error.message
    documents, report = read(tmp_path)
    assert [document.text for document in documents] == ["words"]
    assert report.dropped == {"no_records": 1}


def _missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)


@pytest.mark.parametrize(
    ("name", "data", "library"),
    [("a.pdf", pdf(["x"]), "pypdf"), ("a.docx", docx(("Normal", "x")), "mammoth"), ("a.parquet", b"PAR1", "pyarrow")],
)
def test_without_the_extra_one_line_says_how_to_get_it(
    tmp_path: Path, name: str, data: bytes, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (library, "pyarrow.parquet"):
        _missing(module, monkeypatch)
    (tmp_path / name).write_bytes(data)
    error = refusal(tmp_path / name)
    assert f"is read with `{library}`, which is not installed" in error.message
    assert error.hint == "install it: `pip install 'nima[docs]'`"
    (tmp_path / "b.md").write_text("words")
    documents, report = read(tmp_path)
    assert [document.text for document in documents] == ["words"]
    assert report.dropped == {"needs_extra": 1}
    [note] = [*report.all_notes()]
    assert "pip install 'nima[docs]'" in note


def test_what_a_folder_holds(tmp_path: Path) -> None:
    documents, code = ["CHANGELOG", "README", "a.html", "b.mdown", "guide"], ["Makefile", "tool", "x.py"]
    for name in (*documents, *code, "LICENSE", "NOTICE", "data.xyz"):
        (tmp_path / name).write_text(f"words of {name}")
    (tmp_path / "tool").write_text("#!/bin/sh\nls")
    (tmp_path / "x.js").write_text("f();" * 2000)
    scanned = pdf([])
    (tmp_path / "scan.pdf").write_bytes(scanned)

    def names(**options: Any) -> list[str]:
        return [Path(document.where).name for document in read(tmp_path, **options)[0]]

    assert names() == names(container="text") == documents
    assert names(include_code=True) == sorted(documents + code)
    assert names(format="text") == ["CHANGELOG", "README", "b.mdown", "guide"]
    _, report = read(tmp_path, include_code=True)
    assert report.dropped == {"no_text": 1, "minified": 1}
    assert len([*report.all_notes()]) == 2


def test_problems_have_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text('{"cells": [\n  oops]}')
    assert refusal(tmp_path / "a.ipynb").message == f"{tmp_path / 'a.ipynb'}:2:3: broken notebook: expecting value"
    (tmp_path / "a.html").write_bytes(b"<p>\xff")
    assert "byte 0xff at offset 3 (line 1) is not UTF-8" in refusal(tmp_path / "a.html").message
    (tmp_path / "b.html").write_bytes(b"<p>" + b"x" * (16 * 2**20))
    assert refusal(tmp_path / "b.html").message == f"{tmp_path / 'b.html'}: HTML larger than 16 MB"
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("x", "x")
    assert "is no Word document" in refusal(tmp_path / "a.docx").message


@pytest.mark.parametrize("make", [lambda: "", lambda: "<body></body>", lambda: "<script>f()</script>"])
def test_pages_that_say_nothing_are_empty(tmp_path: Path, make: Callable[[], str]) -> None:
    (tmp_path / "a.html").write_text(make())
    (tmp_path / "b.md").write_text("words")
    _, report = read(tmp_path)
    assert report.dropped == {"empty": 1}


@pytest.mark.parametrize("form", [form for form in FORMATS if form.lightweight], ids=lambda form: form.name)
def test_lightweight_markup_is_converted_or_text_as_it_is_written(tmp_path: Path, form: Format) -> None:
    for suffix in sorted(form.suffixes):
        path = tmp_path / f"a{suffix}"
        path.write_text("some *words*\n")
        [converted], [written] = read(path)[0], read(path, as_written=True)[0]
        assert (converted.kind, written.kind, written.text) == ("markdown", "text", "some *words*\n")


@pytest.mark.parametrize("text", ["2024-01-02 started\n", "name: x\n.something\n"])
def test_a_file_that_only_has_the_suffix_of_a_manual_page_is_none(text: str) -> None:
    page = replace(MAN, converter="code:code_to_markdown")
    with pytest.raises(UnusableError, match="is no man page, whatever its name says") as caught:
        convert(page, io.BytesIO(text.encode()), None, "app.log.1", gzipped=False)
    assert caught.value.reason == "no_document"


@pytest.mark.parametrize("text", [".TH LS 1\n", '.\\" remark\n.Dd today\n', "'\\\" t\n.SH NAME\n", ".so man1/x.1\n"])
def test_manual_pages_are_known_by_their_requests(text: str) -> None:
    assert MAN.sign is not None
    assert MAN.sign.search(text)
