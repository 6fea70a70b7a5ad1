"""What is compiled is made once, is this user's alone, and where it cannot be had the reason is said."""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nima_cli.engine.kernels import build
from nima_cli.engine.kernels.build import NoProgramError, Program

posix = pytest.mark.skipif(os.name != "posix", reason="needs a shell and users")
SMALL = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "small.cpp").write_text('#include "small.h"\n', "utf-8")
    (tmp_path / "source" / "small.h").write_text(SMALL, "utf-8")
    return Program("small", tmp_path / "source", ("small",), ((),))


@pytest.fixture
def made(program: Program, tmp_path: Path) -> Path:
    if not any(map(shutil.which, build._COMPILERS)):
        pytest.skip("no C++ compiler here")
    return build.library(program, tmp_path / "new" / "folder")


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
    assert again.stem.endswith(hashlib.sha256(again.read_bytes()).hexdigest()[:16])
    assert list(made.parent.iterdir()) == [again]


@pytest.mark.parametrize("file", ["small.cpp", "small.h"])
def test_another_source_is_another_program(program: Program, made: Path, file: str) -> None:
    with (program.folder / file).open("a") as changed:
        changed.write("// changed\n")
    assert build.library(program, made.parent) != made


def test_other_flags_are_another_program(program: Program, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a program's own choices, and of those that all are compiled with."""
    assert build.library(replace(program, choices=(("-O1",),)), made.parent) != made
    monkeypatch.setattr(build, "_ALWAYS", (*build._ALWAYS, "-O1"))
    assert build.library(program, made.parent) != made


def refusal(program: Program, folder: Path, **options: float) -> NoProgramError:
    """Why there is no program."""
    with pytest.raises(NoProgramError) as refused:
        build.library(program, folder, **options)
    assert refused.value.exit_code == 4
    return refused.value


@pytest.fixture
def compile_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in the place of every compiler."""

    def put(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in build._COMPILERS:
            (folder / name).write_text(f"#!/bin/sh\n{script}\n", "utf-8")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return put


def test_without_a_compiler_there_is_none(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = refusal(program, tmp_path / "compiled")
    assert refused.message == "no C++ compiler (c++, g++, clang++) is installed"
    assert refused.hint is not None
    assert not (tmp_path / "compiled").exists()


def test_for_another_platform_nothing_is_tried(program: Program, tmp_path: Path) -> None:
    refused = refusal(replace(program, platform="plan9"), tmp_path / "compiled")
    assert refused.message == "it is for plan9 only"
    assert not (tmp_path / "compiled").exists()


def test_what_the_compiler_said_is_kept_until_it_succeeds(program: Program, made: Path, tmp_path: Path) -> None:
    source, folder = program.folder / "small.cpp", tmp_path / "empty"
    sound = source.read_text("utf-8")
    source.write_text("int main( { not_a_type x;", "utf-8")
    refused = refusal(program, folder)
    (log,) = folder.iterdir()
    assert "cannot compile it: " in refused.message
    assert "small.cpp:1:" in refused.message
    assert refused.hint == f"all it said is in {log}"
    assert "not_a_type" in log.read_text("utf-8")
    log.rename(folder / f"{made.stem.rpartition('-')[0]}.log")
    source.write_text(sound, "utf-8")
    assert list(folder.iterdir()) != [build.library(program, folder)] == list(folder.iterdir())


@posix
def test_a_compiler_that_hangs_is_given_up(
    program: Program, tmp_path: Path, compile_with: Callable[[str], None]
) -> None:
    compile_with("exec sleep 600")
    refused = refusal(program, tmp_path / "compiled", patience=0.2)
    assert refused.message.endswith("c++ took too long and was given up")
    assert list((tmp_path / "compiled").iterdir()) == []


@posix
def test_all_sources_and_flags_share_one_patience(
    program: Program, tmp_path: Path, compile_with: Callable[[str], None]
) -> None:
    """Not each of them: that would be minutes."""
    compile_with(f'[ "$1" = -v ] && exit; echo x >> {tmp_path}/calls; exec sleep 600')
    for _ in range(2):  # of the same process, which does not try again
        refused = refusal(replace(program, choices=((), (), ())), tmp_path / "compiled", patience=1.0)
        assert refused.message.endswith("c++ took too long and was given up")
    assert (tmp_path / "calls").read_text("utf-8") == "x\n"


@posix
@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022])
def test_its_folder_is_its_users_alone(program: Program, tmp_path: Path, made: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        path = build.library(program, tmp_path / f"of {mask}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_nothing_is_run_from_a_folder_that_others_may_write(program: Program, made: Path, mode: int) -> None:
    made.parent.chmod(mode)
    refused = refusal(program, made.parent)
    assert refused.message == f"{made.parent}: other users may write there"
    assert refused.hint is not None
    made.parent.chmod(0o755)
    assert build.library(program, made.parent) == made


@posix
def test_nothing_is_run_from_a_folder_of_another_user(program: Program, made: Path) -> None:
    theirs = made.parent
    if os.geteuid():
        theirs = Path("/usr")
    else:
        os.chown(theirs, 12345, -1)
    assert refusal(program, theirs).message == f"{theirs}: belongs to another user"


@posix
def test_two_macs_are_two_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There `platform.processor()` is `arm` for all of them, and /proc is not there."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = []
    for name in ("Apple M1", "Apple M4"):
        (tmp_path / "sysctl").write_text(f"#!/bin/sh\necho machdep.cpu.brand_string: {name}\n", "utf-8")
        (tmp_path / "sysctl").chmod(0o755)
        found.append(list(build.processor("darwin")))
    assert found[0] != found[1]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_said(program: Program, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "permission denied" in refusal(program, locked).message


def test_a_file_in_the_place_of_the_folder_is_said(program: Program, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    assert "file exists" in refusal(program, tmp_path / "taken").message
