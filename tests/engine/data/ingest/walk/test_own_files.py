"""Datasets and run directories of nima are known by their files, whole or half, and nothing else is taken for one."""

import json
from pathlib import Path
from shutil import copytree

import pytest

from nima_cli.engine.data.ingest.walk.own_files import is_own, kind_of_file, kinds_of

ROW = json.dumps({"event": "run_started", "version": "0.1.0", "config": {}})


def kinds(folder: Path) -> list[str]:
    return kinds_of(folder, {entry.name for entry in folder.iterdir()})


def folder_with(place: Path, **files: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text, "utf-8")
    return place


def test_a_dataset_is_known_under_any_name_and_all_its_files_are_its_own(tiny_dataset: Path, tmp_path: Path) -> None:
    folder = copytree(tiny_dataset, tmp_path / "renamed")
    assert kinds(folder) == ["dataset"]
    assert all(is_own("dataset", entry.name) for entry in folder.iterdir())
    names = ("checkpoint_best.pt", "checkpoint_best.json", "checkpoint_step_20.pt", "checkpoint_last.pt.superseded")
    assert all(is_own("run", name) for name in (*names, "metrics.jsonl", "report.html"))
    assert not any(is_own("run", name) for name in ("checkpoint_notes.md", "notes.md", "reports"))


@pytest.mark.parametrize(
    "lost",
    [
        ("dataset_metadata.json",),
        ("train.bin", "val.bin", "test.bin"),
        ("dataset_metadata.json", "train.bin", "train.index.npy", "val.bin"),
    ],
)
def test_a_dataset_that_lost_files_is_still_one(tiny_dataset: Path, tmp_path: Path, lost: tuple[str, ...]) -> None:
    folder = copytree(tiny_dataset, tmp_path / "damaged")
    for name in lost:
        (folder / name).unlink()
    assert kinds(folder) == ["dataset"]


def test_a_preparation_that_was_killed_is_a_dataset(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "half", train__txt="text")
    assert kinds(folder) == []
    (folder / ".staging-4711").mkdir()
    assert kinds(folder) == ["dataset"]
    assert is_own("dataset", ".staging-4711")


@pytest.mark.parametrize(
    "files",
    [
        {"metrics__jsonl": ROW + "\n"},
        {"metrics__jsonl": "", "config__yaml": "model: {}\n"},
        {"checkpoint_last__pt": "x", "config__yaml": "model: {}\n"},
        {"checkpoint_best__pt": "x", "metrics__jsonl": ROW},
    ],
    ids=["going on", "just begun", "checkpoint", "best"],
)
def test_a_run_is_known_from_its_first_moment(tmp_path: Path, files: dict[str, str]) -> None:
    assert kinds(folder_with(tmp_path / "run", **files)) == ["run"]


@pytest.mark.parametrize(
    "files",
    [
        {"dataset_metadata__json": '{"title": "weather", "splits": {}}', "train__txt": "rain"},
        {"train__bin": "x", "val__bin": "x", "input__txt": "to be or not to be"},
        {"metrics__jsonl": '{"question": "a", "answer": "b"}\n'},
        {"config__yaml": "site: docs\n", "samples__jsonl": '{"text": "a"}\n', "index__html": "<p>"},
        {"checkpoint_best__pt": "x"},
    ],
)
def test_what_others_made_is_not_taken_for_ours(tmp_path: Path, files: dict[str, str]) -> None:
    assert kinds(folder_with(tmp_path / "other", **files)) == []


def test_a_single_file_is_known_by_its_neighbours(tiny_dataset: Path, tmp_path: Path) -> None:
    run = folder_with(tmp_path / "run", metrics__jsonl=ROW, notes__md="mine")
    assert kind_of_file(tiny_dataset / "train.txt") == "dataset"
    assert kind_of_file(run / "metrics.jsonl") == "run"
    assert kind_of_file(run / "notes.md") is None
    alone = folder_with(tmp_path / "alone", train__txt="my own text")
    assert kind_of_file(alone / "train.txt") is None
