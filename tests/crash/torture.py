"""Every moment, every fault, many random instants: minutes of work. Not part of the suite; `make torture` runs it."""

from pathlib import Path

import pytest

from tests.crash.moments import FAULTS
from tests.crash.run import sweep


@pytest.mark.parametrize("fault", FAULTS)
def test_every_moment(fault: str, tiny_dataset: Path, tmp_path: Path) -> None:
    wanted = f"faults:{fault}:1"
    found = sweep(tiny_dataset, tmp_path, wanted, minutes=120)[wanted]
    assert found["struck"] == found["moments"] > 100
    print(found)


@pytest.mark.parametrize("wanted", ["kills:50", "chain:10", "signals:30", "starts:20"])
def test_many_instants(wanted: str, tiny_dataset: Path, tmp_path: Path) -> None:
    print(sweep(tiny_dataset, tmp_path, wanted, minutes=120)[wanted])
