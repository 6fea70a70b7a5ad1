"""What is not computed with compiled programs says so once, with the reason; what is says so in its first line."""

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import CONFIG, Nima

NO_COMPILER = "no C++ compiler (c++, g++, clang++) is installed"
LITTLE = CONFIG + "monitoring: {tensorboard: false, plots: false}\n"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernels are for Linux")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(LITTLE, "utf-8")
    return path


@linux_only
def test_training_without_a_compiler_says_what_that_costs(
    tiny_dataset: Path, config: Path, nima: Nima, tmp_path: Path
) -> None:
    args = ("train", "-c", config, "--data", tiny_dataset, "--output-dir", tmp_path / "run", "--max-steps", "1")
    ran = nima(*args, env={"PATH": str(tmp_path)})
    assert ran.code == 0, ran.stderr
    said = [line for line in ran.stderr.splitlines() if "compiler" in line]
    assert said == [f"warning: training with torch alone, about half as fast: {NO_COMPILER} (install one, such as g++)"]
    (first,) = (line for line in ran.stderr.splitlines() if line.startswith("run "))
    assert "cpu float32, torch alone, " in first
    log = (tmp_path / "run" / "logs" / "train.log").read_text("utf-8")
    assert ("cpu float32, torch alone, " in log, NO_COMPILER in log) == (True, True)


@linux_only
def test_training_with_compiled_kernels_says_so(tiny_dataset: Path, config: Path, nima: Nima, tmp_path: Path) -> None:
    args = ("train", "-c", config, "--data", tiny_dataset, "--output-dir", tmp_path / "run", "--max-steps", "1")
    ran = nima(*args)
    assert ran.code == 0, ran.stderr
    assert "warning" not in ran.stderr
    assert "cpu float32, compiled kernels, " in ran.stderr


@linux_only
def test_what_a_failed_compiler_said_is_named(tiny_dataset: Path, config: Path, nima: Nima, tmp_path: Path) -> None:
    (tmp_path / "c++").write_text("#!/bin/sh\necho this compiler is broken >&2\nexit 1\n", "utf-8")
    (tmp_path / "c++").chmod(0o755)
    home = tmp_path / "home"
    ran = nima(
        "train", "-c", config, "--data", tiny_dataset, "--output-dir", tmp_path / "run", "--max-steps", "1",
        env={"PATH": str(tmp_path), "NIMA_HOME": str(home)},
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    (log,) = (home / "compiled").iterdir()
    assert f"cannot compile it: this compiler is broken (all it said is in {log})" in ran.stderr
    assert "this compiler is broken" in (tmp_path / "run" / "logs" / "train.log").read_text("utf-8")
    assert "this compiler is broken" in log.read_text("utf-8")


@pytest.mark.parametrize("flags", [(), ("--quiet",), ("--json",)])
def test_writing_without_a_compiler_says_so_once(
    flags: tuple[str, ...], tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    args: list[str | Path] = ["generate", "--checkpoint", tiny_run.run_dir, "--prompt", "The", "queue", *flags]
    without, with_one = nima(*args, env={"PATH": str(tmp_path)}), nima(*args)
    assert (without.code, without.stdout) == (0, with_one.stdout)
    expected = [
        f"warning: writing with torch alone, up to thirteen times as slow: {NO_COMPILER}",
        "hint: install one, such as g++",
    ]
    assert without.stderr.splitlines() == ([] if "--quiet" in flags else expected)
    assert with_one.stderr == ""


def test_a_conversation_without_a_compiler_says_so_once(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima("chat", "--checkpoint", tiny_run.run_dir, "--once", "Hello", env={"PATH": str(tmp_path)})
    assert ran.code == 0, ran.stderr
    assert ran.stderr.count(NO_COMPILER) == 1
