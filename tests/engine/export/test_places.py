"""Files of others stay, and an export that fails leaves what was there."""

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.errors import InputError, NimaError, ResourceError
from tests.cli.programs import contents
from tests.engine.export.conftest import export

Saved = Callable[..., tuple[Path, Checkpoint]]
FORMATS = ("hf", "gguf", "safetensors")


@pytest.mark.parametrize("kind", FORMATS)
def test_an_earlier_export_is_replaced(kind: str, saved: Saved, tmp_path: Path) -> None:
    path, _ = saved()
    export(path, tmp_path / "out", kind, licence="mit")
    before = contents(tmp_path)
    export(path, tmp_path / "out", kind, licence="mit")
    assert contents(tmp_path) == before
    export(path, tmp_path / "out", kind, licence="apache-2.0")
    assert contents(tmp_path).keys() == before.keys()
    assert contents(tmp_path) != before


@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
@pytest.mark.parametrize("foreign", [b"", b"notes", b"GGUF" + bytes(100), b"\x02" + bytes(7) + b"{}", bytes(5000)])
def test_a_foreign_file_is_refused(kind: str, foreign: bytes, saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(foreign)
    with pytest.raises(InputError, match="is no export of nima"):
        export(saved()[0], tmp_path / "out", kind)
    assert contents(tmp_path) == {"out": foreign}


@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
def test_a_foreign_card_is_refused(kind: str, saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "out.md").write_text("my notes")
    with pytest.raises(InputError, match=r"out\.md"):
        export(saved()[0], tmp_path / "out", kind)
    assert contents(tmp_path) == {"out.md": b"my notes"}


def test_a_foreign_modelfile_is_refused(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "out.Modelfile").write_text("FROM ./mine.gguf")
    with pytest.raises(InputError, match=r"out\.Modelfile"):
        export(saved()[0], tmp_path / "out", "gguf")
    assert contents(tmp_path) == {"out.Modelfile": b"FROM ./mine.gguf"}


def test_a_folder_of_the_other_format_is_not_replaced(saved: Saved, tmp_path: Path) -> None:
    path, _ = saved()
    export(path, tmp_path / "out", "hf")
    with pytest.raises(InputError, match="which is not from an export"):
        export(path, tmp_path / "out", "peft")


def test_a_folder_with_anything_else_in_it_is_refused(saved: Saved, tmp_path: Path) -> None:
    path, _ = saved()
    (tmp_path / "out").mkdir()
    export(path, tmp_path / "out", "hf")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"holds `notes\.txt`"):
        export(path, tmp_path / "out", "hf")
    assert contents(tmp_path) == before


def test_somebody_elses_model_folder_is_refused(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds `config\.json`"):
        export(saved()[0], tmp_path / "out", "hf")
    assert contents(tmp_path) == {"out/config.json": b"{}"}


def test_a_file_for_a_folder_and_a_folder_for_a_file(saved: Saved, tmp_path: Path) -> None:
    path, _ = saved()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        export(path, tmp_path / "file", "hf")
    for kind in ("gguf", "safetensors"):
        with pytest.raises(InputError, match="is a folder"):
            export(path, tmp_path, kind)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files the POSIX way")
def test_a_disk_that_refuses_leaves_what_was_there(kind: str, earlier: bool, saved: Saved, tmp_path: Path) -> None:
    path, _ = saved()
    if earlier:
        export(path, tmp_path / "out", kind, licence="mit")
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(ResourceError, match="out"):
            export(path, tmp_path / "out", kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == before
    assert {entry.name for entry in tmp_path.iterdir()} == {Path(name).parts[0] for name in before}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_parent_that_is_a_file_is_named(kind: str, saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NimaError, match="file"):
        export(saved()[0], tmp_path / "file" / "out", kind)
