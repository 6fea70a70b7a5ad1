"""Every checkpoint format that was ever released still loads, to the same numbers (reliability promise H7)."""

import hashlib
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import load
from nima_cli.engine.checkpoint.header import FORMAT, MIGRATIONS
from tests.conftest import RunCli
from tests.engine.crafted import contents

FOLDER = Path(__file__).parent
# Format: SHA-256 over the names and bytes of all tensors, in order of the names.
RELEASED = {
    1: "a593f029abc8961bbb687c1497dff8ad902bafbf7d1af0a4893756ea65112a25",
    2: "2508abaea11df21be2aee5e8fb2592e2a0b65a394f9b84e3d5a3b11d4323e7ad",
}


def test_each_format_has_its_file_and_its_step_to_the_next() -> None:
    assert list(RELEASED) == list(range(1, FORMAT + 1))
    assert len(MIGRATIONS) == FORMAT - 1


@pytest.mark.parametrize("version", RELEASED)
def test_a_released_format_loads_to_the_same_numbers(version: int) -> None:
    checkpoint = load(FOLDER / f"format_{version}.pt")
    assert checkpoint.ema is not None
    averages = {f"ema {name}": tensor.numpy().tobytes() for name, tensor in checkpoint.ema.items()}
    found = hashlib.sha256()
    for name, data in sorted({**contents(checkpoint), **averages}.items()):
        found.update(name.encode() + data)
    assert found.hexdigest() == RELEASED[version]
    assert (checkpoint.header["step"], checkpoint.header["evaluated_step"]) == (4, 4)
    assert checkpoint.header["config"]["training"]["learning_rate"] == 0.01


@pytest.mark.parametrize("version", RELEASED)
def test_a_released_format_still_writes_text(version: int, run_cli: RunCli) -> None:
    ran = run_cli(
        "generate", "--checkpoint", FOLDER / f"format_{version}.pt", "--prompt", "The", "--max-new-tokens", "4",
        "--temperature", "0", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    assert ran.json()
