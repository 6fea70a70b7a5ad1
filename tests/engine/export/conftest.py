"""Checkpoints with random weights to export, on one thread."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.checkpoint.file import Checkpoint, save
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import bundle
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.export.run import export_checkpoint
from nima_cli.engine.model.rope_scaling import RopeScaling
from nima_cli.events import Exported
from tests.engine.data.hf_tokenizers import hf_files
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

# Models that were tuned: the name of a tokenizer in `hf_tokenizers`, the layout, and what to change in a small shape.
_APART = {"n_kv_heads": 2, "head_dim": 16}
_LLAMA3_ROPE = RopeScaling("llama3", 8.0, original_context=32, low=1.0, high=4.0)
TUNED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("smol", "llama", {"qk_norm": False, "n_kv_heads": 2, "norm_epsilon": 1e-5}),
    "llama 3": (
        "llama3", "llama", {"qk_norm": False, **_APART, "rope_scaling": _LLAMA3_ROPE, "tie_embeddings": False},
    ),
    "mistral": ("mistral", "mistral", {"qk_norm": False, **_APART, "tie_embeddings": False}),
    "mistral, spaces by Metaspace": ("metaspace", "mistral", {"qk_norm": False, "n_kv_heads": 2}),
    "qwen2": (
        "qwen", "qwen2",
        {"qk_norm": False, "qkv_bias": True, "n_kv_heads": 1, "rope_scaling": RopeScaling("linear", 3.0)},
    ),
    "qwen3": (
        "qwen", "qwen3", {**_APART, "rope_scaling": RopeScaling("yarn", 4.0, 16, 2.0, 16.0, attention_factor=0.9)},
    ),
}  # fmt: skip
EMPTY_ROWS = 5  # of the embedding

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


def tuned_files(name: str) -> dict[str, str]:
    """The tokenizer files of a model of `TUNED`; merges in the manner of SentencePiece are all ways to make a piece."""
    files = hf_files(TUNED[name][0])
    file = json.loads(files["tokenizer.json"])
    if file["model"]["byte_fallback"]:
        made = list(dict.fromkeys(left + right for left, right in file["model"]["merges"]))
        cuts = [(piece[:cut], piece[cut:]) for piece in made for cut in range(1, len(piece))]
        known = {*made, *(piece for piece in file["model"]["vocab"] if len(piece) == 1)}
        file["model"]["merges"] = [cut for cut in cuts if known.issuperset(cut)]
    return files | {"tokenizer.json": json.dumps(file)}


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Checkpoint]]:
    """A saved checkpoint of a model of `TUNED`, with some rows of the embedding that no token has."""

    def make(name: str, files: Mapping[str, str] | None = None, **changes: Any) -> tuple[Path, Checkpoint]:
        tokenizer = HFTokenizer.from_bytes(bundle(files or tuned_files(name)), where=name)
        shape = {"vocab_size": tokenizer.vocab_size + EMPTY_ROWS, "context_length": 64, **TUNED[name][2], **changes}
        checkpoint = small_checkpoint(tokenizer, **shape)
        checkpoint.header |= {"pretrained": "hf:Maker/tiny-1", "layout": TUNED[name][1], "licence": "apache-2.0"}
        path = tmp_path_factory.mktemp("tuned") / "checkpoint_best.pt"
        save(path, checkpoint)
        return path, checkpoint

    return make


def export(checkpoint: Path, output: Path, format: str, **settings: Any) -> Exported:  # noqa: A002
    """Run an export to its end."""
    last = list(export_checkpoint(checkpoint, output, format=format, **settings))[-1]
    assert isinstance(last, Exported)
    return last
