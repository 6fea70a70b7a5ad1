import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nima_cli.engine.native import build
from nima_cli.engine.native.build import Program

SMALL = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "small.cpp").write_text('#include "small.h"\n', "utf-8")
    (tmp_path / "source" / "small.h").write_text(SMALL, "utf-8")
    return Program("small", tmp_path / "source", ((),))


@pytest.fixture
def made(program: Program, tmp_path: Path) -> Path:
    path = build.library(program, tmp_path / "new" / "folder")
    if path is None:
        pytest.skip("no C++ compiler here")
    return path


def test_what_is_there_is_not_made_again(program: Program, made: Path) -> None:
    before = made.stat()
    assert build.library(program, made.parent) == made
    assert made.stat() == before
    assert list(made.parent.iterdir()) == [made]


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: data[:9000] + b"?" + data[9001:]])
def test_a_damaged_program_is_made_anew(program: Program, made: Path, damage: Callable[[bytes], bytes]) -> None:
    """A process that loads a file that was cut short dies of it, and no exception tells why."""
    sound = made.read_bytes()
    made.write_bytes(damage(sound))
    again = build.library(program, made.parent)
    assert again is not None
    assert again.stem.endswith(hashlib.sha256(again.read_bytes()).hexdigest()[:16])
    assert list(made.parent.iterdir()) == [again]


@pytest.mark.parametrize("file", ["small.cpp", "small.h"])
def test_another_source_is_another_program(program: Program, made: Path, file: str) -> None:
    with (program.folder / file).open("a") as changed:
        changed.write("// changed\n")
    assert build.library(program, made.parent) not in (None, made)


def test_other_flags_are_another_program(program: Program, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program's own choices, and of those that all are compiled with."""
    assert build.library(replace(program, choices=(("-O1",),)), made.parent) not in (None, made)
    monkeypatch.setattr(build, "_ALWAYS", (*build._ALWAYS, "-O1"))
    assert build.library(program, made.parent) not in (None, made)


def test_without_a_compiler_there_is_none(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.library(program, tmp_path / "compiled") is None
    assert not (tmp_path / "compiled").exists()


def test_for_another_platform_nothing_is_tried(program: Program, tmp_path: Path) -> None:
    assert build.library(replace(program, platform="plan9"), tmp_path / "compiled") is None
    assert not (tmp_path / "compiled").exists()


def test_a_source_that_does_not_compile_leaves_nothing(program: Program, made: Path, tmp_path: Path) -> None:
    (program.folder / "small.cpp").write_text("int main( {", "utf-8")
    assert build.library(program, tmp_path / "empty") is None
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_no_failure(program: Program, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert build.library(program, locked) is None


def test_a_file_in_the_place_of_the_folder_is_no_failure(program: Program, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    assert build.library(program, tmp_path / "taken") is None
