"""A long conversation on a terminal; the script that holds it says what went wrong. 200 turns: see its docstring."""

import subprocess
import sys
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import save
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from tests.cli.programs import environment
from tests.engine.small_models import small_checkpoint

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chat_soak.py"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_conversation_longer_than_the_context_on_a_terminal(tiny_dataset: Path, tmp_path: Path) -> None:
    """Seven kinds of message, three times each; from the second time on the context is full."""
    save(tmp_path / "random.pt", small_checkpoint(load_tokenizer(tiny_dataset), context_length=512))
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "random.pt", "--turns", "21", "--max-new-tokens", "12"],
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " of 42 turns" in done.stdout
    assert "nothing but the prompt steered the terminal" in done.stdout
