"""The account of a preparation: every file is read, left out or named, and the metadata says the same."""

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.input_report import SourceReport, count_inputs
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.staleness import staleness
from nima_cli.errors import DataError
from nima_cli.events import Dropped, Event, InputsCounted, Note


def config(*paths: Path, **options: Any) -> DataConfig:
    return DataConfig(sources=[SourceConfig(path=str(path)) for path in paths], tokenizer="char", **options)


def run(data: DataConfig, out: Path, *, overwrite: bool = False) -> list[Event]:
    return list(prepare(data, out, overwrite=overwrite, workers=1))


def counted(events: list[Event]) -> list[tuple[str, str, str, int, str]]:
    rows = [event for event in events if isinstance(event, InputsCounted)]
    return [(row.outcome, row.reason, row.suffix, row.count, Path(row.example).name) for row in rows]


def inputs(out: Path) -> Any:
    return json.loads((out / "dataset_metadata.json").read_text("utf-8"))["inputs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents, and much else."""
    root = tmp_path / "docs"
    files = {
        **{f"{number}.md": f"# Page {number}\n\nThe words of page {number}, which has a few." for number in range(6)},
        "again.txt": "# Page 1\n\nThe words of page 1, which has a few.",
        "short.md": "short",
        "big.wiki": "= Title\n" * 200,
        "small.wiki": "= Title\n",
        "x.png": "not really a picture " * 400,
        "node_modules/p/README.md": "somebody else's words",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


def test_all_that_was_read_left_out_and_dropped_is_counted(folder: Path, tmp_path: Path) -> None:
    events = run(config(folder), tmp_path / "out")
    assert counted(events) == [
        ("read", "", ".md", 7, "0.md"),
        ("read", "", ".txt", 1, "again.txt"),
        ("left_out", "kind", ".png", 1, "x.png"),
        ("left_out", "kind", ".wiki", 2, "big.wiki"),
        ("left_out", "dependencies", "", 1, "node_modules"),
        ("dropped", "duplicate", "", 1, "again.txt"),
        ("dropped", "too_short", "", 1, "short.md"),
    ]
    sizes = {row["suffix"]: row["bytes"] for row in inputs(tmp_path / "out")}
    assert sizes[".wiki"] == sum(path.stat().st_size for path in folder.glob("*.wiki"))
    assert [(row["outcome"], row["count"]) for row in inputs(tmp_path / "out")] == [
        (row[0], row[3]) for row in counted(events)
    ]
    drops = {Path(event.where).name: event.reason for event in events if isinstance(event, Dropped)}
    assert drops == {
        "x.png": "kind", "big.wiki": "kind", "small.wiki": "kind", "node_modules": "dependencies",
        "again.txt": "duplicate", "short.md": "too_short",
    }  # fmt: skip


def test_a_large_unread_share_is_warned_of_and_pictures_are_no_share(folder: Path, tmp_path: Path) -> None:
    [warning] = [
        event for event in run(config(folder), tmp_path / "out") if isinstance(event, Note) and "docs" in event.message
    ]
    assert warning.level == "warning"
    assert "% of the bytes are not read: 2 .wiki" in warning.message
    for file in folder.glob("*.wiki"):
        file.unlink()
    assert not unread(run(config(folder), tmp_path / "out", overwrite=True))


@pytest.mark.parametrize(("pattern", "said"), [("drafts/", True), ("*.wiki", False), ("!keep.md", False)])
def test_patterns_that_exclude_nothing_are_warned_of(folder: Path, tmp_path: Path, pattern: str, said: bool) -> None:
    events = run(config(folder, exclude=[pattern]), tmp_path / "out")
    found = [event for event in events if isinstance(event, Note) and "has left nothing out" in event.message]
    assert [note.level for note in found] == (["warning"] if said else [])


def unread(events: list[Event]) -> list[Note]:
    return [event for event in events if isinstance(event, Note) and "are not read" in event.message]


def test_documents_that_are_in_no_file_are_counted_too() -> None:
    embedded = SourceReport("python-docs", "builtin:python-docs", "auto", 1.0, documents=900, bytes=3000)
    piped = SourceReport("stdin", "-", "auto", 1.0, documents=2, bytes=20)
    rows = count_inputs([], [embedded, piped])
    assert [(row.outcome, row.reason, row.count, row.bytes, row.example) for row in rows] == [
        ("read", "embedded", 900, 3000, "python-docs"), ("read", "stdin", 2, 20, "stdin"),
    ]  # fmt: skip


def test_bad_files_that_are_skipped_are_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "latin.md").write_bytes("Gr\xfc\xdfe aus einem Dokument in Latin-1".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.md"):
        run(config(folder), tmp_path / "out")
    rows = counted(run(config(folder, on_error="skip"), tmp_path / "out"))
    [row] = [row for row in rows if row[1] == "not_utf8"]
    assert (row[0], row[3]) == ("dropped", 1)
    assert row[4].startswith("latin.md")


def test_too_few_documents_still_say_what_was_not_read(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/one.md").write_text("the only document that is read here", "utf-8")
    (tmp_path / "docs/rest.wiki").write_text("= The others\n" * 99, "utf-8")
    events: list[Event] = []
    preparing = prepare(config(tmp_path / "docs"), tmp_path / "out", overwrite=False, workers=1)
    with pytest.raises(DataError, match="1 usable document"):
        events.extend(preparing)
    assert ("left_out", "kind", ".wiki", 1, "rest.wiki") in counted(events)


def test_a_dataset_below_its_own_sources_comes_out_the_same_each_time(folder: Path) -> None:
    data, out = config(folder), folder / "data/mine"
    run(data, out)
    first = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert staleness(data, out) is None
    events = run(data, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == first
    assert ("left_out", "output", "", 1, "mine") in counted(events)
    copytree(out, folder / "older")
    assert staleness(data, out) is None


def test_which_files_are_let_through_decides_whether_a_dataset_is_current(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config(folder), out)
    assert staleness(config(folder, exclude=["no-such-name"]), out) is None
    assert staleness(config(folder, exclude=["3.md"]), out) == "its sources were others, or have changed since"
    assert staleness(config(folder, default_excludes=False), out) == "its sources were others, or have changed since"


# --- where a dataset may be written ---------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_files_is_never_written_into(folder: Path, overwrite: bool) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=r"docs/0\.md: is already there and belongs to no prepared dataset") as caught:
        run(config(folder), folder, overwrite=overwrite)
    assert "new or empty" in str(caught.value.hint)
    assert sorted(folder.rglob("*")) == before


def test_an_empty_folder_and_a_dataset_are_written_into(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".gitkeep").touch()
    run(config(folder), out)
    (out / "notes.txt").write_text("mine", "utf-8")
    run(config(folder, max_length=64), out, overwrite=True)
    assert (out / "notes.txt").read_text("utf-8") == "mine"


def test_a_dataset_that_lost_its_metadata_is_replaced_when_asked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config(folder), out)
    (out / "dataset_metadata.json").unlink()
    with pytest.raises(DataError, match="is part of a dataset without") as caught:
        run(config(folder), out)
    assert "`overwrite=True`" in str(caught.value.hint)
    run(config(folder), out, overwrite=True)
    assert staleness(config(folder), out) is None
