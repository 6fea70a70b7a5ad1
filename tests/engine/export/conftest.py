"""Checkpoints with random weights to export, on one thread."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.checkpoint.file import Checkpoint, save
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.export.run import export_checkpoint
from nima_cli.events import Exported
from tests.engine.small_models import small_checkpoint

TEXTS = [
    f"# Section {n}\n\nRun `kubectl get pods -n team-{n}` and wait.\n\n```yaml\nkey:\n    - a{n}\n```\n<|user|> hi\n"
    for n in range(40)
]
# The layouts that an export must get right: what to change in a small shape.
LAYOUTS: dict[str, dict[str, Any]] = {
    "qwen3": {"n_kv_heads": 2, "rope_theta": 50000.0},
    "llama": {"qk_norm": False, "tie_embeddings": False, "n_kv_heads": 2, "rope_theta": 3000.0},
}

Export = Callable[..., Exported]


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, SentencePieceTokenizer]:
    """One of each kind."""
    kinds = ("bpe", "unigram", "char")
    return {kind: SentencePieceTokenizer.train(TEXTS, kind=kind, vocab_size=400, exact=False) for kind in kinds}


@pytest.fixture(scope="session")
def saved(
    tokenizers: dict[str, SentencePieceTokenizer], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, Checkpoint]]:
    """A saved checkpoint of a layout."""

    def make(layout: str = "qwen3", kind: str = "bpe") -> tuple[Path, Checkpoint]:
        checkpoint = small_checkpoint(tokenizers[kind], context_length=64, **LAYOUTS[layout])
        path = tmp_path_factory.mktemp("checkpoint") / "checkpoint_best.pt"
        save(path, checkpoint)
        return path, checkpoint

    return make


def export(checkpoint: Path, output: Path, format: str, **settings: Any) -> Exported:  # noqa: A002
    """Run an export to its end."""
    last = list(export_checkpoint(checkpoint, output, format=format, **settings))[-1]
    assert isinstance(last, Exported)
    return last
