"""nima, transformers and llama.cpp give the same ids for a whole split and the same greedy answers.

llama.cpp takes part when NIMA_TEST_LLAMA_NODE names a folder with node_modules/node-llama-cpp (`npm install
node-llama-cpp` there).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.checkpoint.file import save
from nima_cli.engine.data.store.dataset import open_dataset
from tests.engine.small_models import small_checkpoint

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "export_parity.py"
LLAMA_NODE = os.environ.get("NIMA_TEST_LLAMA_NODE")
LAYOUTS: dict[str, dict[str, Any]] = {"qwen3": {"rope_theta": 20000.0}, "llama": {"qk_norm": False, "n_kv_heads": 2}}


def measure(dataset: Path, folder: Path, layout: str, *flags: str) -> dict[str, Any]:
    """Counts of agreement by program."""
    checkpoint = small_checkpoint(open_dataset(dataset).tokenizer, context_length=96, **LAYOUTS[layout])
    save(folder / "model.pt", checkpoint)
    command = [sys.executable, str(SCRIPT), str(folder / "model.pt"), str(dataset), "--json", "--prompts", "5", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr
    return {one.pop("program"): one for one in json.loads(done.stdout)}


def agrees(found: dict[str, Any]) -> bool:
    whole = found["texts"] > 5 and found["tokens"] > 500 and found["prompts"] == 5
    return whole and (found["equal_texts"], found["equal_answers"]) == (found["texts"], found["prompts"])


def test_transformers(tiny_dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    found = measure(tiny_dataset, tmp_path, "qwen3")["transformers"]
    assert agrees(found), found


@pytest.mark.skipif(LLAMA_NODE is None, reason="NIMA_TEST_LLAMA_NODE does not name a folder with node-llama-cpp")
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_llama_cpp(layout: str, tiny_dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    found = measure(tiny_dataset, tmp_path, layout, "--llama-node", str(LLAMA_NODE))["llama.cpp"]
    assert agrees(found), found
