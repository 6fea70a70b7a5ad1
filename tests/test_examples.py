"""The programs of `examples/` run as their heads say."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.torch
def test_a_model_is_trained_saved_loaded_and_writes(tiny_corpus: Path, tmp_path: Path) -> None:
    program = EXAMPLES / "minimal_train.py"
    assert len(program.read_text("utf-8").splitlines()) <= 100
    command = [sys.executable, str(program), str(tiny_corpus), "--steps", "41", "--prompt", "The scheduler"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    losses = [float(line.split()[-1]) for line in ran.stdout.splitlines() if line.startswith("step")]
    assert len(losses) >= 2
    assert losses[-1] < losses[0] - 0.5
    assert "\nThe scheduler" in ran.stdout
    assert (tmp_path / "minimal" / "checkpoint.pt").is_file()
