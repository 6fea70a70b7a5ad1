"""A model as one GGUF file for llama.cpp and the programs built on it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The architecture is `qwen3`, or `llama` for a
model without normalised queries and keys; the vocabulary is of the kind that llama.cpp calls `llama`, which is
SentencePiece's BPE with byte fallback.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.data.tokenizer.sentencepiece_file import (
    CONTROL_SYMBOLS,
    FIRST_BYTE_ID,
    FIRST_NORMAL_ID,
    SPACE_MARK,
    USER_SYMBOLS,
)
from nima_cli.engine.export import places, verify
from nima_cli.engine.export.chat_template import CHAT_TEMPLATE
from nima_cli.engine.export.source import Source, needed
from nima_cli.engine.model.gpt import NORM_EPSILON
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError

_NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_FILE_TYPES = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16"}


def check_tokenizer(source: Source, where: str) -> None:
    """Refuse a tokenizer that llama.cpp would not follow to the same ids.

    Raises:
        CheckpointError: says which and why.
    """
    kind, pieces = source.tokenizer.kind, [source.tokenizer.piece(i) for i in range(source.tokenizer.vocab_size)]
    if kind == "unigram":
        raise CheckpointError(
            f"{where}: a unigram tokenizer cannot be said in GGUF: llama.cpp has no byte fallback for it",
            hint="use --format safetensors, or train with `--tokenizer bpe`",
        )
    # llama.cpp merges towards any piece, special ones too, if two neighbours make its spelling.
    known = set(pieces)
    for symbol in pieces[:FIRST_NORMAL_ID]:
        if any(symbol[:cut] in known and symbol[cut:] in known for cut in range(1, len(symbol))):
            raise CheckpointError(f"{where}: text could spell the special symbol `{symbol}` in llama.cpp")


def tensor_name(name: str) -> str:
    """nima's name of a tensor to GGUF's: `layers.0.mlp.up_proj.weight` to `blk.0.ffn_up.weight`."""
    stem = name.removesuffix(".weight")
    block = re.fullmatch(r"layers\.(\d+)\.(.+)", stem)
    return f"blk.{block[1]}.{_NAMES[block[2]]}.weight" if block else f"{_NAMES[stem]}.weight"


def rope_layout(name: str, tensor: torch.Tensor, shape: ModelShape, *, back: bool = False) -> torch.Tensor:
    """Rows of the query and key matrices in the order in which the architecture rotates them.

    `qwen3` turns the halves of a head against each other, as nima does. `llama` turns neighbours, so row i of the
    first half goes to 2i and row i of the second to 2i + 1; `back` undoes it.
    """
    kind = re.search(r"self_attn\.([qk])_proj", name)
    if shape.qk_norm or kind is None:
        return tensor
    heads = shape.n_heads if kind[1] == "q" else shape.n_kv_heads
    split = (heads, shape.head_dim // 2, 2) if back else (heads, 2, shape.head_dim // 2)
    return tensor.reshape(*split, -1).transpose(1, 2).reshape(tensor.shape).contiguous()


def export(source: Source, path: Path) -> list[str]:
    """Write `path`, all or nothing, and say what reading it back showed.

    Raises:
        InputError: something else is there.
        CheckpointError: the format cannot say this tokenizer, or what was read back differs.
        ResourceError: the package is missing, or the disk refused.
    """
    verified: list[str] = []

    def check(part: Path) -> None:
        reader = needed("gguf").GGUFReader(part)
        found = dict(_read_tensors(reader, source.shape))
        _check_vocabulary(reader, source, str(path))
        rows = verify.sample_rows(source.tokenizer, source.shape.context_length)
        expected = verify.own_logits(source.shape, source.tensors, rows)
        logits = verify.compare_logits(verify.own_logits(source.shape, found, rows), expected, str(path))
        verified.append(
            f"read back by gguf: {len(found)} tensors, {logits} in nima's model, "
            f"{source.tokenizer.vocab_size:,} equal tokens, scores and types"
        )

    places.check_file(path)
    check_tokenizer(source, str(path))
    places.write_file(path, lambda part: _write(part, source), verify=check)
    return verified


def _write(path: Path, source: Source) -> None:
    gguf = needed("gguf")
    writer = gguf.GGUFWriter(path, "llama" if not source.shape.qk_norm else "qwen3")
    writer.add_string(places.GGUF_MARK, source.facts()["nima_version"])
    writer.add_type("model")
    writer.add_name(source.name)
    writer.add_license(source.licence)
    writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[source.dtype]))
    _add_shape(writer, source.shape)
    _add_tokenizer(writer, source)
    for name, tensor in source.tensors.items():
        kind = gguf.GGMLQuantizationType[_TYPES[source.dtype] if tensor.ndim > 1 else "F32"]
        values = rope_layout(name, tensor, source.shape).float().numpy()
        writer.add_tensor(tensor_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _add_shape(writer: Any, shape: ModelShape) -> None:
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)


def _add_tokenizer(writer: Any, source: Source) -> None:
    tokenizer = source.tokenizer
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(_texts(source))
    writer.add_token_scores(tokenizer.scores())
    writer.add_token_types(_types(source))
    writer.add_bos_token_id(tokenizer.bos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_eot_token_id(tokenizer.end_id)
    writer.add_pad_token_id(tokenizer.pad_id)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_remove_extra_whitespaces(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _texts(source: Source) -> list[str]:
    """Pieces as SentencePiece spells them: with its mark for a space."""
    return [source.tokenizer.piece(i).replace(" ", SPACE_MARK) for i in range(source.tokenizer.vocab_size)]


def _types(source: Source) -> list[int]:
    """GGUF numbers the types as SentencePiece does."""
    front = [2] + [3] * len(CONTROL_SYMBOLS) + [4] * len(USER_SYMBOLS) + [6] * (FIRST_NORMAL_ID - FIRST_BYTE_ID)
    return front + [1] * (source.tokenizer.vocab_size - len(front))


def _read_tensors(reader: Any, shape: ModelShape) -> Iterator[tuple[str, torch.Tensor]]:
    """nima's names and float32 tensors out of a file."""
    gguf = needed("gguf")
    names = {tensor_name(name): name for name in shape.tensors()}
    for tensor in reader.tensors:
        name = names[tensor.name]
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        yield name, rope_layout(name, values.reshape(shape.tensors()[name]), shape, back=True)


def _check_vocabulary(reader: Any, source: Source, where: str) -> None:
    """Tokens, scores and types are those of the tokenizer.

    Raises:
        CheckpointError: they are not.
    """
    expected = {"tokens": _texts(source), "scores": source.tokenizer.scores(), "token_type": _types(source)}
    for key, values in expected.items():
        verify.compare(reader.fields[f"tokenizer.ggml.{key}"].contents(), values, where, f"its {key}")
