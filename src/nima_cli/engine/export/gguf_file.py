"""Writes GGUF files for llama.cpp; the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

The architecture is `qwen3`, or `llama` for a model without normalised queries and keys. llama.cpp calls a vocabulary of
SentencePiece's BPE with byte fallback `llama`, too.
"""

from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.data.tokenizer.chat_format import CHAT_TEMPLATE
from nima_cli.engine.data.tokenizer.sentencepiece_file import (
    CONTROL_SYMBOLS,
    FIRST_BYTE_ID,
    FIRST_NORMAL_ID,
    SPACE_MARK,
    USER_SYMBOLS,
)
from nima_cli.engine.export import places, verify
from nima_cli.engine.export.source import Source, needed
from nima_cli.engine.model.layout import gguf_name, rope_layout
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError

_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_FILE_TYPES = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16"}


def check_tokenizer(source: Source, where: str) -> None:
    """Raise `CheckpointError` for a tokenizer that would give other ids in llama.cpp."""
    if source.tokenizer.kind == "unigram":
        raise CheckpointError(
            f"{where}: a unigram tokenizer cannot be said in GGUF: llama.cpp has no byte fallback for it",
            hint="use `format=safetensors`, or train with a bpe tokenizer",
        )
    # llama.cpp merges two neighbours into any piece that they spell, even into a special one.
    known = set(source.tokenizer.pieces)
    for symbol in source.tokenizer.pieces[:FIRST_NORMAL_ID]:
        if any(symbol[:cut] in known and symbol[cut:] in known for cut in range(1, len(symbol))):
            raise CheckpointError(f"{where}: text could spell the special symbol `{symbol}` in llama.cpp")


def tensor_names(shape: ModelShape) -> dict[str, str]:
    """GGUF's name of each tensor by nima's."""
    return {name: gguf_name(name) for name in shape.tensors()}


def write(path: Path, source: Source) -> None:
    """Write `path` as llama.cpp's converter would, with nima's mark near the beginning."""
    gguf = needed("gguf")
    writer = gguf.GGUFWriter(path, "qwen3" if source.shape.qk_norm else "llama")
    writer.add_string(places.GGUF_MARK, source.facts()["nima_version"])
    writer.add_type("model")
    writer.add_name(source.name)
    writer.add_license(source.licence)
    writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[source.dtype]))
    for key, value in (_sizes(source.shape) | _vocabulary(source)).items():
        getattr(writer, f"add_{key}")(value)
    names = tensor_names(source.shape)
    for name, tensor in source.tensors.items():
        kind = gguf.GGMLQuantizationType[_TYPES[source.dtype] if tensor.ndim > 1 else "F32"]
        values = rope_layout(name, tensor, source.shape).float().numpy()
        writer.add_tensor(names[name], gguf.quants.quantize(values, kind), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _sizes(shape: ModelShape) -> dict[str, Any]:
    return {
        "vocab_size": shape.vocab_size,
        "context_length": shape.context_length,
        "embedding_length": shape.d_model,
        "block_count": shape.n_layers,
        "feed_forward_length": shape.d_ff,
        "head_count": shape.n_heads,
        "head_count_kv": shape.n_kv_heads,
        "key_length": shape.head_dim,
        "value_length": shape.head_dim,
        "rope_dimension_count": shape.head_dim,
        "rope_freq_base": shape.rope_theta,
        "layer_norm_rms_eps": shape.norm_epsilon,
    }


def _vocabulary(source: Source) -> dict[str, Any]:
    tokenizer = source.tokenizer
    return {
        "tokenizer_model": "llama",
        "tokenizer_pre": "default",
        "token_list": _texts(source),
        "token_scores": tokenizer.scores(),
        "token_types": _types(source),
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "eot_token_id": tokenizer.end_id,
        "pad_token_id": tokenizer.pad_id,
        "unk_token_id": 0,
        "add_bos_token": True,
        "add_eos_token": False,
        "add_space_prefix": False,
        "remove_extra_whitespaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _texts(source: Source) -> list[str]:
    return [piece.replace(" ", SPACE_MARK) for piece in source.tokenizer.pieces]


def _types(source: Source) -> list[int]:
    """The type of each piece, in the numbers of SentencePiece, which GGUF shares."""
    front = [2] + [3] * len(CONTROL_SYMBOLS) + [4] * len(USER_SYMBOLS) + [6] * (FIRST_NORMAL_ID - FIRST_BYTE_ID)
    return front + [1] * (source.tokenizer.vocab_size - len(front))


def read_back(path: Path, source: Source, where: str) -> dict[str, torch.Tensor]:
    """Compare the vocabulary of a file with the checkpoint's and return its tensors in float32 by nima's names."""
    gguf = needed("gguf")
    reader, sizes = gguf.GGUFReader(path), source.shape.tensors()
    vocabulary = {"tokens": _texts(source), "scores": source.tokenizer.scores(), "token_type": _types(source)}
    for key, values in vocabulary.items():
        verify.compare(reader.fields[f"tokenizer.ggml.{key}"].contents(), values, where, f"its {key}")
    names = {theirs: ours for ours, theirs in tensor_names(source.shape).items()}
    found = {}
    for tensor in reader.tensors:
        name = names[tensor.name]
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        found[name] = rope_layout(name, values.reshape(sizes[name]), source.shape, back=True)
    return found
