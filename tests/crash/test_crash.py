"""A run that is killed, refused by the disk or signalled at any instant goes on to the very same end: a small part.

`make torture` strikes at every moment; see `torture.py`.
"""

import sys
from pathlib import Path

import pytest

from tests.crash.run import sweep

if sys.platform == "win32":
    pytest.skip("needs fork", allow_module_level=True)


@pytest.mark.torch
def test_a_fault_at_some_moments(tiny_dataset: Path, tmp_path: Path) -> None:
    found = sweep(
        tiny_dataset, tmp_path, "faults:kill:31", "faults:torn:67:30", "faults:full:67:20", "faults:EIO:67:40"
    )
    for row in found.values():
        assert row["moments"] > 100
        assert row["struck"] >= 2
    assert found["faults:kill:31"]["exit -9, 2 or more valid"] >= 2
    assert any(key.startswith("exit 4") for key in found["faults:full:67:20"])


@pytest.mark.torch
def test_kills_signals_and_many_starts(tiny_dataset: Path, tmp_path: Path) -> None:
    found = sweep(tiny_dataset, tmp_path, "kills:2", "chain:3", "signals:4", "starts:6")
    assert len(found["chain:3"]["reached"]) == 3
    assert found["starts:6"]["exit 0"] == 1
