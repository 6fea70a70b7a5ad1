"""The GGUF file as its own library reads it, and how heads are rotated, which that library does not check."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.tokenizer.chat_format import CHAT_TEMPLATE
from nima_cli.engine.data.tokenizer.sentencepiece_file import CONTROL_SYMBOLS, FIRST_NORMAL_ID
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.export.gguf_file import check_tokenizer, tensor_names
from nima_cli.engine.export.source import read_source
from nima_cli.errors import CheckpointError, ResourceError
from tests.engine.export.conftest import LAYOUTS, export

gguf = pytest.importorskip("gguf")

Saved = Callable[..., tuple[Path, Checkpoint]]


def fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sizes_and_vocabulary_are_those_of_the_checkpoint(layout: str, saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved(layout)
    exported = export(path, tmp_path / "model.gguf", "gguf", licence="mit")
    assert exported.files == (tmp_path / "model.gguf", tmp_path / "model.gguf.md")
    found = fields(tmp_path / "model.gguf")
    shape, own = checkpoint.shape, SentencePieceTokenizer.from_bytes(checkpoint.tokenizer_proto, where="test")
    assert found["general.architecture"] == layout
    assert found["general.license"] == "mit"
    assert found[f"{layout}.block_count"] == shape.n_layers
    assert found[f"{layout}.attention.head_count_kv"] == shape.n_kv_heads
    assert found[f"{layout}.rope.freq_base"] == shape.rope_theta
    assert found[f"{layout}.context_length"] == shape.context_length
    assert found["tokenizer.ggml.model"] == "llama"
    assert len(found["tokenizer.ggml.tokens"]) == own.vocab_size
    assert [kind for kind in found["tokenizer.ggml.token_type"] if kind == 6] == [6] * 256
    symbols = [found["tokenizer.ggml.tokens"].index(symbol) for symbol in CONTROL_SYMBOLS]
    assert {found["tokenizer.ggml.token_type"][place] for place in symbols} == {3}
    ids = {"bos": own.bos_id, "eos": own.eos_id, "eot": own.end_id, "padding": own.pad_id, "unknown": 0}
    assert {name: found[f"tokenizer.ggml.{name}_token_id"] for name in ids} == ids
    assert found["tokenizer.ggml.add_space_prefix"] is False
    assert found["tokenizer.ggml.add_bos_token"] is True
    assert found["tokenizer.chat_template"] == CHAT_TEMPLATE


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_matrices_have_the_type_and_norms_stay_whole(dtype: str, saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved()
    export(path, tmp_path / "model.gguf", "gguf", dtype=dtype)
    names = {theirs: ours for ours, theirs in tensor_names(checkpoint.shape).items()}
    short = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[dtype]
    for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors:
        original = checkpoint.model[names.pop(tensor.name)]
        assert tensor.tensor_type.name == (short if original.ndim > 1 else "F32")
        found = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        expected = original if original.ndim == 1 else original.to(getattr(torch, dtype)).float()
        assert torch.equal(found.reshape(original.shape), expected), tensor.name
    assert names == {}


def test_a_unigram_tokenizer_is_refused_by_name(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"unigram.*byte fallback"):
        export(saved("qwen3", "unigram")[0], tmp_path / "model.gguf", "gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_in_which_text_could_spell_a_symbol_is_refused(
    saved: Saved, tokenizers: dict[str, SentencePieceTokenizer]
) -> None:
    own, proto = tokenizers["bpe"], tokenizers["bpe"].proto
    normal = [own.piece(token_id) for token_id in range(FIRST_NORMAL_ID, own.vocab_size)]
    for part in ("<|bo", "s|>"):  # in place of two pieces of the same length
        taken = next(text for text in normal if len(text) == len(part) and text.isalpha() and text.isascii())
        field = bytes([0x0A, len(part)])  # piece number 1 of the message, then its length
        assert proto.count(field + taken.encode()) == 1
        proto = proto.replace(field + taken.encode(), field + part.encode())
    source = read_source(saved()[0], name="x", dtype="float32", licence="mit", matrices_only=True)
    check_tokenizer(source, "out.gguf")
    crafted = dataclasses.replace(source, tokenizer=SentencePieceTokenizer.from_bytes(proto, where="crafted"))
    with pytest.raises(CheckpointError, match=r"could spell the special symbol `<\|bos\|>`"):
        check_tokenizer(crafted, "out.gguf")


def test_without_the_package_it_names_it(saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ResourceError, match="`gguf` is needed") as caught:
        export(saved()[0], tmp_path / "model.gguf", "gguf")
    assert caught.value.hint == "pip install 'nima[export]'"
    assert list(tmp_path.iterdir()) == []
