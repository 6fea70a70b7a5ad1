"""Starts the sweeps in a process of their own, for tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def sweep(data: Path, folder: Path, *wanted: str, minutes: float = 10) -> dict[str, dict[str, Any]]:
    """What each sweep found."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.sweep", str(data), str(folder), *wanted],
        capture_output=True, cwd=ROOT, check=False, text=True, timeout=60 * minutes,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(wanted, found, strict=True))
