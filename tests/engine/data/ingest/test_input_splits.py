"""A file read in splits gives what it gives as a whole: documents, places, drops, and how it is noticed to change."""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.diagnostics import Diagnostic, Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest import input_splits, readers
from nima_cli.engine.data.ingest.contents import ReadOptions
from nima_cli.engine.data.ingest.input_splits import (
    DocumentBatch,
    InputFile,
    InputSplit,
    ReadCounts,
    read_split,
    read_stream,
    split_file,
)
from nima_cli.engine.data.ingest.sources import open_sources
from tests.engine.data.reading import documents_of, report_of

LINES = (
    b'{"text": "one"}', b'{"text": "two", "id": 3}', b'{"text": " "}', b'{"question": "a", "answer": "b"}', b"", b"  ",
    b"{broken", b"5", b"[{}]", b'{"text": "caf\xc3\xa9"}\r', b'{"text": "\xff"}',
    b'{"content": "long ' + b"x" * 90 + b'"}',
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of more than 64 bytes are cut."""
    monkeypatch.setattr(input_splits, "SPLIT_BYTES", 64)


def input_file(path: Path, format_: str = "auto", suffix: str = ".jsonl") -> InputFile:
    return InputFile(2, 7, path.name, suffix, path.suffix == ".gz", ReadOptions(format_))


Read = tuple[list[Document], list[Diagnostic], set[str], int, int]


def added(batches: Iterator[DocumentBatch]) -> Read:
    """Documents, drops, keys not used, files and bytes."""
    documents: list[Document] = []
    total = ReadCounts(2)
    for batch in batches:
        documents += batch.documents
        total.drops += batch.counts.drops
        total.notes.add(batch.counts.notes)
        total.files += batch.counts.files
        total.bytes += batch.counts.bytes
    return documents, total.drops, total.notes.unused_keys, total.files, total.bytes


def whole(path: Path, format_: str = "auto") -> Read:
    with path.open("rb") as stream:
        return added(read_stream(input_file(path, format_), stream))


def in_splits(path: Path, format_: str = "auto") -> Read:
    parts = split_file(input_file(path, format_), path)
    return added(batch for part in parts for batch in ([part] if isinstance(part, DocumentBatch) else read_split(part)))


@given(
    lines=st.lists(st.sampled_from(LINES), max_size=30),
    format_=st.sampled_from(["auto", "doc", "qa"]),
    head=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    end=st.sampled_from([b"", b"\n", b"\n\n"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_splits_are_the_whole(tmp_path: Path, lines: list[bytes], format_: str, head: bytes, end: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(head + b"\n".join(lines) + end)
    assert in_splits(path, format_) == whole(path, format_)


def test_lines_keep_their_numbers_and_splits_are_small(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(b'{"text": "%d"}\n\n' % number for number in range(500)))
    parts = list(split_file(input_file(path), path))
    assert all(isinstance(part, InputSplit) and part.size <= 128 for part in parts)
    assert len(parts) > 80
    documents = in_splits(path)[0]
    assert [document.where for document in documents] == [f"x.jsonl:{2 * number + 1}" for number in range(500)]
    assert {document.source for document in documents} == {7}


def test_keys_are_mapped_in_every_piece(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(b'{"Q": "%d", "A": "yes", "text": "no"}\n' % number for number in range(50)))
    mapping = replace(input_file(path), options=ReadOptions(fields={"question": "Q", "answer": "A"}))
    splits = [part for part in split_file(mapping, path) if isinstance(part, InputSplit)]
    assert len(splits) > 10
    documents, drops, unused, *_ = added(batch for split in splits for batch in read_split(split))
    assert [document.turns[0].content for document in documents] == [str(number) for number in range(50)]
    assert (drops, unused) == ([], {"text"})


@pytest.mark.parametrize("after", [b"\n", b"x" * 300 + b"\n"])
def test_what_ends_reading_ends_it_in_splits_too(tmp_path: Path, after: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NUL stops a file; in a line that is too long to be looked at it does not."""
    monkeypatch.setattr(readers, "MAX_RECORD_BYTES", 200)
    path = tmp_path / "x.jsonl"
    record = b'{"text": "words"}\n'
    path.write_bytes(record * 9 + b"\0" + after + record * 9)
    documents, drops, *_ = in_splits(path)
    assert (documents, drops) == whole(path)[:2]
    assert len(documents) == (9 if len(after) == 1 else 18)
    assert [drop.reason for drop in drops] == ["binary" if len(after) == 1 else "too_large"]


def test_a_json_document_in_a_file_of_lines_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps([{"text": f"number {number}"} for number in range(30)], indent=0))
    assert in_splits(path) == whole(path)
    assert "one JSON document" in in_splits(path)[1][0].what


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gzip"])
def test_only_plain_lines_are_cut(tmp_path: Path, encoding: str) -> None:
    text = "".join(f'{{"text": "è {number}"}}\n' for number in range(99))
    path = tmp_path / "x.jsonl"
    path.write_bytes(gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding))
    splits = [part for part in split_file(input_file(path), path) if isinstance(part, InputSplit)]
    assert bool(splits) == (encoding == "utf-8")
    assert in_splits(path) == whole(path)
    assert len(whole(path)[0]) == 99


def test_packed_files_count_for_more_than_their_size(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "words"}\n'))
    assert path.stat().st_size < 64
    assert all(isinstance(part, DocumentBatch) for part in split_file(input_file(path), path))


@pytest.mark.parametrize("change", ["grown", "shrunk", "touched"])
def test_a_change_between_two_splits_is_noticed_once(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "words"}\n' * 40)
    [source] = open_sources([SourceConfig(path=str(path))])
    parts = list(source.parts(0))
    size = path.stat().st_size
    if change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        with path.open("r+b") as stream:
            stream.truncate(size - 100 if change == "shrunk" else size + 100)
    reasons = [
        drop.reason
        for part in parts
        if isinstance(part, InputSplit)
        for batch in read_split(part)
        for drop in batch.counts.drops
    ]
    assert reasons.count("changed") == 1


def test_folders_give_the_same_in_splits(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.md").write_text(f"# Title {number}\n" + "words " * number * 5)
        (tmp_path / f"{number}.jsonl").write_text("".join(f'{{"text": "{number} {i}"}}\n' for i in range(number * 3)))
    [source] = open_sources([SourceConfig(path=str(tmp_path))])
    problems, report = Diagnostics(), report_of(source)
    documents = list(documents_of(source, problems, report))
    problems.raise_if_any()
    assert len(documents) == 6 + 3 * 15
    assert (report.files, report.documents, report.dropped) == (12, 51, {"empty": 1})
    assert report.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_what_is_converted_stays_whole_for_any_core_to_read(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_text("<title>T</title>" + "<p>words" * 100)
    [part] = split_file(input_file(path, suffix=".html"), path)
    assert isinstance(part, InputSplit)
    [document] = (document for batch in read_split(part) for document in batch.documents)
    assert document.text.startswith("# T\n\nwords\n\nwords")
