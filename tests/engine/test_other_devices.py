"""Training, evaluation and writing need nothing that Apple's GPU lacks: float64 above all."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch  # in the process that it starts
Found = dict[str, Any]


@pytest.fixture(scope="module")
def found(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What came of the same runs on the CPU and on a device that stands in, from a process of its own."""
    folder = tmp_path_factory.mktemp("devices")
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.on_another_device", str(tiny_dataset), str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said: Found = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_device_without_float64_learns_and_writes_what_the_cpu_does(found: Found, optimizer: str) -> None:
    """From the first step over a stop and a resume to an evaluation and a text; it is the CPU that computes it."""
    ours, theirs = found[f"standin {optimizer}"], found[f"cpu {optimizer}"]
    assert len(ours["losses"]) == 6
    for figure in ("losses", "val", "test"):
        assert ours[figure] == pytest.approx(theirs[figure], rel=1e-4)
    assert (ours["text"], ours["answers"]) == (theirs["text"], theirs["answers"])


def test_the_device_that_stands_in_refuses_what_the_real_one_would(found: Found) -> None:
    refused = {name: bool(why) for name, why in found["refused"].items()}
    assert refused == {
        "double": True, "made": True, "converted on the way to the CPU": True, "mixed": True, "converted there": False,
    }  # fmt: skip


def test_torch_has_every_function_that_was_called_for_apples_gpu(found: Found) -> None:
    """By torch's own list: made for it, or made of others."""
    torchgen, model = importlib.import_module("torchgen.gen"), importlib.import_module("torchgen.model")  # untyped
    folder = Path(str(torchgen.__file__)).parent / "packaged" / "ATen" / "native"
    listed = torchgen.parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
    functions = {str(function.func.name): function for function in listed.native_functions}
    own = listed.backend_indices[model.DispatchKey.MPS]

    def is_there(name: str) -> bool:
        function = functions[name]
        one = functions[str(function.structured_delegate)] if function.structured_delegate else function
        return bool(own.has_kernel(function) or own.has_kernel(one) or function.has_composite_kernel)

    assert len(found["reached"]) > 50
    assert [name for name in found["reached"] if not is_there(name)] == []
