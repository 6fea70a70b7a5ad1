"""One safetensors file: weights, sizes, tokenizer and facts, and nothing about whoever trained it."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import torch

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from tests.engine.export.conftest import export

Saved = Callable[..., tuple[Path, Checkpoint]]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
def test_the_file_alone_rebuilds_model_and_tokenizer(kind: str, saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved("qwen3", kind)
    exported = export(path, tmp_path / "m.safetensors", "safetensors")
    assert exported.unverified == ()
    with safetensors.safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = GPT(ModelShape.from_dict(json.loads(metadata["model_shape"])))
    model.load_state_dict(weights, strict=True)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in checkpoint.model.items())
    tokenizer = SentencePieceTokenizer.from_bytes(base64.b64decode(metadata["tokenizer_base64"]), where="test")
    assert tokenizer.proto == checkpoint.tokenizer_proto
    assert json.loads(metadata["facts"])["step"] == checkpoint.header["step"]
    assert "config" not in metadata["facts"]


def test_half_the_bytes_in_half_the_precision(saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved()
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        output = tmp_path / f"{dtype}.safetensors"
        export(path, output, "safetensors", dtype=dtype)
        sizes[dtype] = output.stat().st_size
    assert sizes["float32"] - sizes["bfloat16"] == pytest.approx(2 * checkpoint.shape.parameters(), abs=64)
