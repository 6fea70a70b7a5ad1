"""From a path to files: what a walk meets and does not take is left out and counted; what is named must be usable."""

import json
import os
import sys
from pathlib import Path
from shutil import copytree

import pytest

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.ingest.contents import file_filter
from nima_cli.engine.data.ingest.sources import open_sources
from nima_cli.engine.data.ingest.walk.file_finder import FileFinder, FoundFiles
from nima_cli.engine.data.ingest.walk.ignoring import WalkOptions
from nima_cli.errors import DataError, NimaError, ResourceError


def find(pattern: Path | str, walking: WalkOptions | None = None) -> FoundFiles:
    wanted = file_filter(SourceConfig(path=str(pattern)))
    return FileFinder().find(str(pattern), wanted, walking or WalkOptions())


def names(found: FoundFiles) -> list[str]:
    return [one.name for one in found.files]


def skipped(found: FoundFiles, root: Path) -> dict[str, str]:
    return {os.path.relpath(one.where, root): one.reason for one in found.skipped}


def refused(path: Path | str, walking: WalkOptions | None = None) -> NimaError:
    with pytest.raises(NimaError) as caught:
        open_sources([SourceConfig(path=str(path))], walking=walking)
    return caught.value


def docs(root: Path, *more: str) -> Path:
    for name in ("a.md", *more):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"text of {name}", "utf-8")
    return root


def run_dir(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps({"event": "run_started", "seed": 1}) + "\n", "utf-8")
    (folder / "samples.jsonl").write_text(json.dumps({"step": 1, "prompt": "a", "text": "b"}) + "\n", "utf-8")
    (folder / "config.yaml").write_text("model: {}\n", "utf-8")
    (folder / "logs").mkdir()
    (folder / "logs/notes.txt").write_text("log", "utf-8")
    (folder / ".lock").touch()
    return folder


@pytest.mark.parametrize("pattern", ["", "/*", "/**", "/**/*.txt"])
def test_datasets_and_runs_below_a_folder_are_skipped(tiny_dataset: Path, tmp_path: Path, pattern: str) -> None:
    docs(tmp_path, "b.txt", "data/own.txt")
    copytree(tiny_dataset, tmp_path / "data/mine")
    run_dir(tmp_path / "experiments/one")
    found = find(f"{tmp_path}{pattern}")
    documents = ["a.md", "b.txt", "data/own.txt"]
    assert names(found) == [name for name in documents if name.endswith(".txt") or not pattern.endswith(".txt")]
    own = {where: reason for where, reason in skipped(found, tmp_path).items() if reason in ("dataset", "run")}
    assert own == {"data/mine": "dataset", "experiments/one": "run"}


def test_documents_among_the_files_of_a_dataset_or_run_are_read(tiny_dataset: Path, tmp_path: Path) -> None:
    mixed = docs(copytree(tiny_dataset, tmp_path / "docs"), "guide/b.md")
    found = find(mixed)
    assert names(found) == ["a.md", "guide/b.md"]
    assert skipped(found, mixed) == {".": "dataset"}
    assert names(find(docs(run_dir(tmp_path / "run")))) == ["a.md"]


def test_a_dataset_or_run_that_is_named_is_refused_with_the_way_out(tiny_dataset: Path, tmp_path: Path) -> None:
    run = run_dir(tmp_path / "run")
    for path, what in ((tiny_dataset, "is a prepared dataset of nima"), (run, "is a run directory of nima")):
        error = refused(path)
        assert isinstance(error, DataError)
        assert error.message.startswith(f"{path}: {what}")
        assert "`data.dir`" in str(error.hint)
    assert "there is nothing but a run directory of nima in" in refused(tmp_path).message
    assert "nothing but a prepared dataset of nima" in refused(f"{tiny_dataset}/*.txt").message


def test_a_file_of_a_dataset_or_run_that_is_named_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    for file in (tiny_dataset / "train.txt", run_dir(tmp_path / "run") / "samples.jsonl"):
        error = refused(file)
        assert error.message.startswith(f"{file}: is part of a ")
        assert "a copy of it in another folder" in str(error.hint)
    copied = tmp_path / "train.txt"
    copied.write_bytes((tiny_dataset / "train.txt").read_bytes())
    assert names(find(copied)) == ["train.txt"]


def test_the_output_directory_is_left_out_even_before_it_is_whole(tmp_path: Path) -> None:
    docs(tmp_path, "out/train.txt")
    (tmp_path / "out/.staging-12").mkdir()
    (tmp_path / "out/.staging-12/val.txt").write_text("half", "utf-8")
    found = find(tmp_path, WalkOptions(output=tmp_path / "out"))
    assert names(found) == ["a.md"]
    assert skipped(found, tmp_path) == {"out": "output"}


def test_a_broken_link_on_a_walk_is_counted_and_one_that_is_named_is_an_error(tmp_path: Path) -> None:
    docs(tmp_path)
    for name, target in (("gone.md", "nowhere"), ("circle.md", "circle.md"), ("gone.png", "nowhere"), ("folder", "x")):
        os.symlink(target, tmp_path / name)
    found = find(tmp_path)
    assert names(found) == ["a.md"]
    broken = ("gone.md", "circle.md", "gone.png", "folder")
    assert skipped(found, tmp_path) == dict.fromkeys(broken, "broken_link")
    assert names(find(f"{tmp_path}/*.md")) == ["a.md"]
    assert "a broken or circular link" in refused(tmp_path / "gone.md").message


def test_a_pipe_on_a_walk_is_counted(tmp_path: Path) -> None:
    docs(tmp_path)
    os.mkfifo(tmp_path / "pipe.md")
    assert skipped(find(tmp_path), tmp_path) == {"pipe.md": "not_regular"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_stops_unless_it_is_to_be_skipped(tmp_path: Path) -> None:
    docs(tmp_path, "b.md", "closed/c.md")
    (tmp_path / "b.md").chmod(0)
    (tmp_path / "closed").chmod(0)
    try:
        error = refused(tmp_path)
        found = find(tmp_path, WalkOptions(skip_unreadable=True))
        named = refused(tmp_path / "closed", WalkOptions(skip_unreadable=True))
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert isinstance(named, ResourceError)
    assert isinstance(error, ResourceError)
    assert len(error.message.splitlines()) == 2
    assert names(found) == ["a.md"]
    assert skipped(found, tmp_path) == {"b.md": "unreadable", "closed": "unreadable"}


def test_files_of_other_kinds_are_counted_by_suffix_with_their_size(tmp_path: Path) -> None:
    docs(tmp_path, "b.xyz", "LICENSE", "x.tar.gz", "odd.suffix with spaces", "c.md.gz")
    found = find(tmp_path)
    assert names(found) == ["a.md", "c.md.gz"]
    kinds = {os.path.basename(one.where): (one.suffix, one.size) for one in found.skipped if one.reason == "kind"}
    assert kinds == {
        "b.xyz": (".xyz", 13), "LICENSE": ("", 15), "x.tar.gz": (".tar.gz", 16), "odd.suffix with spaces": ("", 30),
    }  # fmt: skip


def test_what_another_source_reads_is_not_skipped(tmp_path: Path) -> None:
    docs(tmp_path, "qa.json")
    folder = SourceConfig(path=str(tmp_path), container="text")
    for sources in ([folder, SourceConfig(path=str(tmp_path / "qa.json"))], [folder, folder]):
        opened = open_sources(sources)
        counted = [os.path.basename(one.where) for source in opened for one in source.skipped]
        assert counted == ([] if len(sources[1].path) > len(sources[0].path) else ["qa.json"])


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system with byte names")
def test_odd_names_that_are_left_out_can_be_printed(tmp_path: Path) -> None:
    docs(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff\x1b[31m.bin")).write_bytes(b"x")
    [one] = find(tmp_path).skipped
    assert one.where.isprintable()
    one.where.encode("utf-8")
