"""A kill or a full disk at any moment leaves the old dataset usable, the new one, or none; never half of one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("needs fork", allow_module_level=True)


def sweep(corpus: Path, folder: Path, mode: str, step: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.data.crash_sweep", str(corpus), str(folder), mode, str(step)],
        capture_output=True, cwd=Path(__file__).parents[3], check=False, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("mode", ["kill", "full"])
def test_every_fourth_moment(tiny_corpus: Path, tmp_path: Path, mode: str) -> None:
    found = sweep(tiny_corpus, tmp_path / "out", mode, 4)
    assert found["moments"] >= 50
    assert found["old"] > 5
    assert found["none"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["kill", "full"])
def test_every_moment(tiny_corpus: Path, tmp_path: Path, mode: str) -> None:
    found = sweep(tiny_corpus, tmp_path / "out", mode, 1)
    assert found["tried"] == found["moments"] >= 50
