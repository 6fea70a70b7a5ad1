"""The habits of the package agree with each other: pins, licence, Makefile, what git keeps and ignores."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import nima_cli

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LARGEST = 250_000  # bytes of a tracked file
TARGETS = ("demo", "test", "lint", "types", "unit", "fmt", "docs", "bench", "clean")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def requirements() -> Iterator[Requirement]:
    """Everything that pyproject.toml asks for, with all extras."""
    extras = PROJECT["optional-dependencies"].values()
    for line in itertools.chain(PROJECT["dependencies"], *extras):
        yield Requirement(line)


def pins() -> dict[str, Version]:
    """Name to version, as constraints.txt has them."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in found}


def git(*arguments: str) -> str:
    """What git says in this repository; skips the test where there is none."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout


def make(*arguments: str) -> str:
    """What make prints; nothing is built with `--dry-run`."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=inherited, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("requirement", list(requirements()), ids=str)
def test_a_dependency_is_pinned_to_a_version_that_it_allows(requirement: Requirement) -> None:
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, "add it to constraints.txt"
    assert requirement.specifier.contains(pinned)


def test_constraints_are_exact_sorted_and_for_every_system() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in pinned), "no `+cpu`, no ranges"
    names = [canonicalize_name(line.split("==")[0]) for line in pinned]
    assert names == sorted(set(names))


def test_what_the_pinned_packages_need_is_pinned_too() -> None:
    pinned = pins()
    open_ended = re.compile(r"nvidia-|cuda-|triton|colorama|setuptools")  # what only some systems need, and build tools
    missing = set()
    for name in pinned:
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # an environment for using nima has no development tools
        plain = [Requirement(line) for line in needed]
        wanted = [each.name for each in plain if each.marker is None or each.marker.evaluate({"extra": ""})]
        missing |= {canonicalize_name(each) for each in wanted} - pinned.keys()
    assert sorted(name for name in missing if not open_ended.match(name)) == []


def test_the_version_has_one_home() -> None:
    assert "version" in PROJECT["dynamic"]
    assert metadata.version("nima") == nima_cli.__version__


def test_the_licence_is_the_one_that_the_package_names() -> None:
    assert PROJECT["license"] == "MIT"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("MIT License\n\nCopyright (c) 20")


def test_the_changelog_has_an_entry_for_the_next_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[Unreleased\]\n\n### (Added|Changed|Fixed|Removed)\n\n- ", text, re.MULTILINE)


@needs_make
def test_make_alone_lists_the_targets() -> None:
    printed = make()
    listed = re.findall(r"^  ([a-z]+) +\S", printed, re.MULTILINE)
    assert set(TARGETS) <= set(listed)
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony is not None
    assert sorted(phony[1].split()) == sorted(listed)


@needs_make
def test_make_test_runs_every_check() -> None:
    printed = make("--dry-run", "test")
    for command in ("ruff check", "ruff format --check", "/mypy", "/pytest", "make_reference.py --check"):
        assert command in printed


@needs_make
def test_make_installs_with_the_pinned_versions_into_the_python_one_asks_for() -> None:
    printed = make("--dry-run", "--always-make", "PYTHON=python3.99", "lint")
    assert "python3.99 -m venv .venv" in printed
    assert "pip install" in printed
    assert "-c constraints.txt -e '.[dev]'" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no executable bit")
def test_continuous_integration_runs_make_test_and_nothing_else() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]


@pytest.mark.parametrize(
    "path",
    [
        ".venv/bin/python", "data/mine/train.bin", "demo/run/metrics.jsonl", "experiments/mine/metrics.jsonl",
        "checkpoint_best.pt", "src/nima_cli/__pycache__/app.pyc", "build/x", "dist/nima.whl", ".mypy_cache/x",
        ".pytest_cache/x", ".ruff_cache/x", ".hypothesis/x",
    ],
)  # fmt: skip
def test_what_is_made_is_ignored(path: str) -> None:
    assert git("check-ignore", "--no-index", path).strip() == path


@pytest.mark.parametrize(
    "path", ["src/nima_cli/engine/data/prepare.py", "tests/engine/data/test_split.py", "configs/a.yaml"]
)
def test_what_is_written_is_not_ignored(path: str) -> None:
    assert git("check-ignore", "--no-index", path) == ""


def test_tracked_files_are_small_and_none_is_ignored() -> None:
    tracked = [ROOT / line for line in git("ls-files", "-z").split("\0") if line]
    assert tracked
    large = [path for path in tracked if path.is_file() and path.stat().st_size > LARGEST]
    assert [path.relative_to(ROOT).as_posix() for path in large] == []
    ignored = [line for line in git("ls-files", "--cached", "--ignored", "--exclude-standard").splitlines() if line]
    assert ignored[:5] == [], f"{len(ignored)} tracked files should not be in the repository"
