"""The arithmetic in docs/scale.md is what benchmarks/cluster.py computes today."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.torch
def test_the_tables_of_the_page_are_those_of_the_script() -> None:
    script = ROOT / "benchmarks" / "cluster.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 19
    assert [row for row in rows if row not in page] == []
