import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nima_cli.engine.inference.native import build


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = build.library(tmp_path / "new" / "folder")
    if path is None:
        pytest.skip("no C++ compiler here")
    return path


def test_what_is_there_is_not_made_again(made: Path) -> None:
    before = made.stat()
    assert build.library(made.parent) == made
    assert made.stat() == before
    assert list(made.parent.iterdir()) == [made]


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: data[:9000] + b"?" + data[9001:]])
def test_a_damaged_program_is_made_anew(made: Path, damage: Callable[[bytes], bytes]) -> None:
    """A process that loads a file that was cut short dies of it, and no exception tells why."""
    sound = made.read_bytes()
    made.write_bytes(damage(sound))
    again = build.library(made.parent)
    assert again is not None
    assert again.stem.endswith(hashlib.sha256(again.read_bytes()).hexdigest()[:16])
    assert list(made.parent.iterdir()) == [again]


def test_another_source_is_another_program(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.cpp"
    other.write_bytes(build.SOURCE.read_bytes() + b"\n// changed\n")
    monkeypatch.setattr(build, "SOURCE", other)
    assert build.library(made.parent) not in (None, made)


def test_without_a_compiler_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.library(tmp_path / "compiled") is None
    assert not (tmp_path / "compiled").exists()


def test_a_source_that_does_not_compile_leaves_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main( {", "utf-8")
    monkeypatch.setattr(build, "SOURCE", broken)
    assert build.library(tmp_path / "empty") is None
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert build.library(locked) is None


def test_a_file_in_the_place_of_the_folder_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    assert build.library(tmp_path / "taken") is None
