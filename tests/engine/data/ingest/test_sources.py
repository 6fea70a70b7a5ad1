"""Sources read real files: what is taken, in which order, and what each kind of bad input says."""

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.diagnostics import Diagnostics, printable
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.input_splits import InputSplit, read_split
from nima_cli.engine.data.ingest.sources import Source, fingerprint, open_sources
from nima_cli.engine.data.input_report import SourceReport
from nima_cli.errors import DataError, NimaError, ResourceError
from tests.engine.data.reading import documents_of, report_of

QA = {"question": "What is a pod?", "answer": "A group of containers."}


def read(path: Path | str, **config: object) -> list[Document]:
    """All documents of one source, strictly."""
    return read_source(path, **config)[1]


def read_source(path: Path | str, **config: object) -> tuple[SourceReport, list[Document]]:
    [source] = open_sources([SourceConfig.model_validate({"path": str(path), **config})])
    problems, report = Diagnostics(), report_of(source)
    documents = list(documents_of(source, problems, report))
    problems.raise_if_any()
    return report, documents


def names(source: Source) -> list[str]:
    return [file.name for file in source.files]


def failure(path: Path | str, **config: object) -> NimaError:
    with pytest.raises(NimaError) as caught:
        read(path, **config)
    assert "Traceback" not in caught.value.message
    return caught.value


def write(path: Path, data: bytes | str | object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(data, bytes):
        data = (data if isinstance(data, str) else json.dumps(data)).encode()
    path.write_bytes(data)
    return path


def test_a_folder_is_walked_in_the_order_of_relative_names(tmp_path: Path) -> None:
    for name in ("z.md", "a/b.txt", "a.rst", "B.markdown", "m.mdx"):
        write(tmp_path / "docs" / name, f"text of {name}")
    write(tmp_path / "docs/image.png", b"\x89PNG\0")
    write(tmp_path / "docs/.git/x.md", "hidden")
    write(tmp_path / "docs/qa.json", [QA])
    write(tmp_path / "docs/qa.jsonl", json.dumps({"text": "one line"}))
    documents = read(tmp_path / "docs")
    names = [Path(document.where.split(":")[0]).name for document in documents]
    assert names == ["B.markdown", "a.rst", "b.txt", "m.mdx", "qa.json", "qa.jsonl", "z.md"]
    kinds = [document.kind for document in documents]
    assert kinds == ["markdown", "markdown", "text", "markdown", "qa", "text", "markdown"]


def test_the_working_directory_changes_neither_order_nor_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.md", "a.md", "sub/c.md"):
        write(tmp_path / "docs" / name, f"text {name}")
    monkeypatch.chdir(tmp_path)
    here = open_sources([SourceConfig(path="docs")])
    from_here = fingerprint(here)
    monkeypatch.chdir(tmp_path / "docs")
    there = open_sources([SourceConfig(path=str(tmp_path / "docs"))])
    assert names(here[0]) == names(there[0]) == ["a.md", "b.md", "sub/c.md"]
    assert from_here == fingerprint(there)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write(root / "a.md", "other words here"),
        lambda root: (root / "a.md").rename(root / "b.md"),
        lambda root: write(root / "new.md", "more"),
    ],
    ids=["content", "name", "file"],
)
def test_the_fingerprint_follows_the_files(tmp_path: Path, change: Callable[[Path], object]) -> None:
    write(tmp_path / "a.md", "first words here")
    sources = [SourceConfig(path=str(tmp_path))]
    before = fingerprint(open_sources(sources))
    assert fingerprint(open_sources(sources)) == before
    change(tmp_path)
    assert fingerprint(open_sources(sources)) != before


def test_the_fingerprint_follows_the_settings(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "words")
    settings: list[dict[str, object]] = [{}, {"weight": 2.0}, {"format": "text"}, {"name": "other"}]
    prints = {
        fingerprint(open_sources([SourceConfig.model_validate({"path": str(tmp_path), **more})])) for more in settings
    }
    assert len(prints) == len(settings)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("docs/*.md", ["a.md"]),
        ("docs/**/*.md", ["a.md", "one/b.md", "one/two/c.md"]),
        ("docs/*/*.md", ["one/b.md"]),
        ("docs/**", ["a.md", "one/b.md", "one/two/c.md", "one/two/d.txt"]),
        ("docs/on[e]/b.?d", ["b.md"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    for name in ("a.md", "one/b.md", "one/two/c.md", "one/two/d.txt", "one/e.png", ".hidden/f.md"):
        write(tmp_path / "docs" / name, f"text {name}")
    [source] = open_sources([SourceConfig(path=str(tmp_path / pattern))])
    assert [name.removeprefix("one/") if "[" in pattern else name for name in names(source)] == expected
    assert len(list(documents_of(source, Diagnostics()))) == len(expected)


def test_a_name_with_glob_characters_is_taken_literally(tmp_path: Path) -> None:
    write(tmp_path / "a[1].md", "literal")
    write(tmp_path / "a1.md", "matched")
    assert [document.text for document in read(tmp_path / "a[1].md")] == ["literal"]


def test_a_real_file_is_read_once_and_a_note_says_so(tmp_path: Path) -> None:
    write(tmp_path / "docs/a.md", "the only text")
    os.symlink("a.md", tmp_path / "docs/b.md")
    os.symlink(".", tmp_path / "docs/loop")
    os.symlink("..", tmp_path / "docs/up")
    report, documents = read_source(tmp_path / "docs")
    assert [document.text for document in documents] == ["the only text"]
    assert any("b.md" in note and "read once" in note for note in report.all_notes())
    again = open_sources([SourceConfig(path=str(tmp_path / name)) for name in ("docs/a.md", "docs/../docs/a.md")])
    assert [len(source.files) for source in again] == [1, 0]


def test_mutual_links_do_not_loop(tmp_path: Path) -> None:
    write(tmp_path / "a/x.md", "x")
    write(tmp_path / "b/y.md", "y")
    os.symlink("../b", tmp_path / "a/to_b")
    os.symlink("../a", tmp_path / "b/to_a")
    assert sorted(document.text for document in read(tmp_path)) == ["x", "y"]
    assert sorted(document.text for document in read(f"{tmp_path}/**/*.md")) == ["x", "y"]


def test_all_unusable_paths_are_named_at_once(tmp_path: Path) -> None:
    os.symlink("nowhere", tmp_path / "broken.md")
    os.symlink("self.md", tmp_path / "self.md")
    os.mkfifo(tmp_path / "pipe.md")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(tmp_path / "socket.md"))
    (tmp_path / "empty").mkdir()
    names = ["missing.md", "no*.txt", "broken.md", "self.md", "pipe.md", "socket.md", "empty"]
    with pytest.raises(DataError) as caught:
        open_sources([SourceConfig(path=str(tmp_path / name)) for name in names])
    listener.close()
    lines = caught.value.message.splitlines()
    assert len(lines) == len(names)
    expected = ["no such file", "no file matches", *["not a regular file"] * 4, "no documents"]
    for line, name, what in zip(lines, names, expected, strict=True):
        assert line.startswith(f"{tmp_path / name}: {what}")
    assert caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="needs a character device")
def test_a_device_is_no_file() -> None:
    assert "not a regular file" in failure("/dev/zero").message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_the_environments_fault(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "x").chmod(0)
    error = failure(tmp_path / "a.md")
    assert isinstance(error, ResourceError)
    assert "permission denied" in error.message


def test_a_file_that_vanishes_is_the_environments_fault(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "x")
    [source] = open_sources([SourceConfig(path=str(tmp_path / "a.md"))])
    (tmp_path / "a.md").unlink()
    with pytest.raises(ResourceError, match=r"a\.md: cannot read"):
        list(documents_of(source, Diagnostics()))
    with pytest.raises(ResourceError, match=r"a\.md: cannot read"):
        fingerprint([source])


def test_a_file_that_changes_before_it_is_read_to_its_end_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "qa.jsonl", f"{json.dumps(QA)}\n" * 3)
    [source] = open_sources([SourceConfig(path=str(path))])
    [split] = source.parts(0)
    assert isinstance(split, InputSplit)
    with path.open("a") as more:
        more.write(json.dumps(QA))
    problems, report = Diagnostics(), report_of(source)
    for batch in read_split(split):
        list(report.add(batch.counts, source, problems))
    with pytest.raises(DataError, match="changed while reading"):
        problems.raise_if_any()


def test_empty_files_are_counted_and_noted(tmp_path: Path) -> None:
    for name, data in {
        "a.md": b"",
        "b.md": b"\xef\xbb\xbf",
        "c.txt": b" \n\t\n",
        "d.json": b"[]",
        "e.jsonl": b"\n",
    }.items():
        write(tmp_path / name, data)
    write(tmp_path / "z.md", "something")
    report, documents = read_source(tmp_path)
    assert [document.text for document in documents] == ["something"]
    assert report.dropped == {"empty": 5}
    assert any("a.md and 4 more" in note for note in report.all_notes())


def test_the_report_counts_what_was_read(tmp_path: Path) -> None:
    text = "è una prova\n"
    write(tmp_path / "a.md", text)
    records = [QA, {**QA, "answer": " "}, {**QA, "id": 7}]
    size = len(write(tmp_path / "qa.json", records).read_bytes())
    report, documents = read_source(tmp_path)
    assert (report.files, report.documents, report.bytes) == (2, 3, len(text.encode()) + size)
    assert len(documents) == 3
    assert report.dropped == {"empty": 1}
    assert "keys not used: `id`" in report.all_notes()
    assert read_source(tmp_path) == (report, documents)


def test_bad_records_are_skipped_and_counted_on_request(tmp_path: Path) -> None:
    lines = [json.dumps(QA), "{broken", json.dumps({"question": "?"}), "5", json.dumps(QA)]
    [source] = open_sources([SourceConfig(path=str(write(tmp_path / "qa.jsonl", "\n".join(lines))))])
    problems, report = Diagnostics(skip=True), report_of(source)
    assert len(list(documents_of(source, problems, report))) == 2
    problems.raise_if_any()
    assert report.dropped == problems.counts == {"malformed": 1, "missing_key": 1, "not_a_record": 1}


def test_the_first_twenty_kinds_of_problems_are_listed(tmp_path: Path) -> None:
    for number in range(33):
        write(tmp_path / f"{number:02}.jsonl", "5\n" * 3)
    lines = failure(tmp_path).message.splitlines()
    assert len(lines) == 21
    assert "00.jsonl:1: expected a record (an object), found a number (and 2 more records like it)" in lines[0]
    assert lines[-1] == "and 39 more"


def test_what_is_wrong_with_many_records_of_a_file_is_said_once(tmp_path: Path) -> None:
    wrong = [{"question": "a", f"key{number}": 1} for number in range(600)]
    others = [{"messages": [{"role": role, "content": "a"}]} for role in ("robot", "robot", "parrot")]
    qa, chat = write(tmp_path / "qa.json", wrong), write(tmp_path / "chat.jsonl", "\n".join(map(json.dumps, others)))
    assert failure(qa).message == (
        f"{qa}:1 (record 1): missing `answer`; keys found: `question`, `key0` (and 599 more records like it)"
    )
    first, second = failure(chat).message.splitlines()
    assert first.startswith(f"{chat}:1: `messages[0].role` is `robot`, expected one of")
    assert first.endswith("(and 1 more record like it)")
    assert second.startswith(f"{chat}:3: `messages[0].role` is `parrot`")
    assert not second.endswith("like it)")


def test_json_without_records_met_on_a_walk_is_noted_not_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "text")
    write(tmp_path / "package.json", {"name": "site", "private": True})
    report, documents = read_source(tmp_path)
    assert len(documents) == 1
    assert any("package.json" in note for note in report.all_notes())
    assert "expected a list of objects" in failure(tmp_path / "package.json").message


def test_a_format_limits_what_a_walk_takes(tmp_path: Path) -> None:
    write(tmp_path / "a.md", "text")
    write(tmp_path / "qa.json", [QA])
    assert [document.kind for document in read(tmp_path, format="qa")] == ["qa"]
    assert [document.kind for document in read(tmp_path, format="text")] == ["text"]


@pytest.mark.parametrize(
    ("container", "kinds"),
    [
        ("auto", ["text", "qa", "qa", "text", "markdown"]),
        ("text", ["text", "markdown"]),
        ("json", ["qa"]),
        ("jsonl", ["qa", "text"]),
    ],
)
def test_a_container_limits_what_a_walk_takes(tmp_path: Path, container: str, kinds: list[str]) -> None:
    write(tmp_path / "a.txt", "text")
    write(tmp_path / "b.json", [QA])
    write(tmp_path / "c.jsonl", json.dumps(QA))
    write(tmp_path / "d.jsonl.gz", gzip.compress(b'{"text": "packed"}'))
    write(tmp_path / "e.md.gz", gzip.compress(b"# packed"))
    write(tmp_path / "f.tar.gz", gzip.compress(b"no document"))
    assert [document.kind for document in read(tmp_path, container=container)] == kinds


def test_a_file_of_records_is_not_taken_for_text_by_mistake(tmp_path: Path) -> None:
    write(tmp_path / "b.json", [QA])
    assert "holds records" in failure(tmp_path / "b.json", container="text").message
    assert [document.kind for document in read(tmp_path / "b.json", format="text")] == ["text"]
    with pytest.raises(ValueError, match="contradict each other"):
        SourceConfig(path="x", format="qa", container="text")


def test_the_container_decides_for_standard_input_and_odd_names(tmp_path: Path) -> None:
    write(tmp_path / "odd", "\n".join([json.dumps(QA)] * 2))
    assert [document.kind for document in read(tmp_path / "odd", container="jsonl")] == ["qa", "qa"]
    assert "looks like JSON Lines" in failure(tmp_path / "odd", container="json").message
    write(tmp_path / "odd2", [QA])
    assert "looks like one JSON document" in failure(tmp_path / "odd2", container="jsonl").message


@pytest.mark.parametrize(
    ("format_", "data", "kinds"),
    [("auto", "plain\nwords", ["text"]), ("qa", json.dumps([QA, QA]), ["qa", "qa"]), ("qa", json.dumps(QA), ["qa"])],
)
def test_standard_input(format_: str, data: str, kinds: list[str]) -> None:
    code = (
        "from nima_cli.config.data_schema import SourceConfig\n"
        "from nima_cli.engine.data.ingest.sources import fingerprint, open_sources\n"
        f"s = open_sources([SourceConfig(path='-', format='{format_}')])\n"
        "f = fingerprint(s)\n"
        "print(s[0].name, [d.kind for b in s[0].parts(0) for d in b.documents], f == fingerprint(s))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"stdin {kinds} True"


def test_default_names_are_short_and_unique(tmp_path: Path) -> None:
    paths = ["k8s/a.md", "go/a.md", "k8s/*.txt", "builtin:python-docs"]
    for name in ("k8s/a.md", "go/a.md", "k8s/b.txt"):
        write(tmp_path / name, name)
    sources = [SourceConfig(path=path if ":" in path else str(tmp_path / path)) for path in paths]
    assert [source.name for source in open_sources(sources)] == ["a.md", "a.md-2", "k8s", "python-docs"]


@pytest.mark.parametrize("name", ["a\nb.md", "[red]x[/red].md", "\x1b[31m.md", "-rf.md", "n" * 252 + ".md"])
def test_odd_file_names_work_and_stay_on_one_line(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"\xff not utf-8")
    message = failure(tmp_path).message
    assert len(message.splitlines()) == 1
    assert "\x1b" not in message
    write(tmp_path / name, "good text")
    assert read(tmp_path)[0].where == printable(str(tmp_path / name))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system with byte names")
def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.md")), "good text")
    [source] = open_sources([SourceConfig(path=str(tmp_path))])
    documents = list(documents_of(source, Diagnostics()))
    documents[0].where.encode("utf-8")
    assert len(fingerprint([source])) == 64


@pytest.mark.corpus
def test_the_corpus_reads_without_a_problem() -> None:
    root = os.environ.get("NIMA_TEST_CORPUS")
    if not root:
        pytest.skip("set NIMA_TEST_CORPUS to the folder of the shared corpus")
    names = ("docs/prometheus", "qa.json", "docs.json", "chat.json", "qa.jsonl")
    for name in names:
        report, documents = read_source(Path(root) / name)
        assert documents
        assert not report.dropped
