"""The generated references say what the program says."""

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with references written now, by a copy of the generator."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "make_reference.py").write_text((DOCS / "make_reference.py").read_text("utf-8"), "utf-8")
    subprocess.run([sys.executable, folder / "make_reference.py"], check=True, timeout=60)
    return folder


@pytest.mark.parametrize("name", ["config.md", "cli.md"])
def test_reference_is_current(generated: Path, name: str) -> None:
    current = (DOCS / name).read_text("utf-8")
    assert current == (generated / name).read_text("utf-8"), "run `python docs/make_reference.py`"


def test_check_tells_a_stale_reference(generated: Path) -> None:
    command = [sys.executable, str(generated / "make_reference.py"), "--check"]
    assert subprocess.run(command, timeout=60).returncode == 0
    path = generated / "config.md"
    text = path.read_text("utf-8")
    path.write_text(text.replace("learning_rate", "learning_speed"), "utf-8")
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 1
        assert "config.md is stale" in result.stderr
        assert "learning_speed" in path.read_text("utf-8"), "a check writes nothing"
    finally:
        path.write_text(text, "utf-8")
