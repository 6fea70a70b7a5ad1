"""Writes GGUF files for llama.cpp; the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

The architecture is `qwen3`; or `qwen2` for a model with biases; or `llama`, also of Mistral's, for one that has neither
these nor normalised queries and keys.
"""

import math
from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.export import places, verify
from nima_cli.engine.export.gguf import ollama
from nima_cli.engine.export.gguf.tensor_types import QUANTIZED, left_in_float16, packed, tensor_types
from nima_cli.engine.export.gguf.vocabulary import Vocabulary, check_reading, limits, lists, vocabulary_of
from nima_cli.engine.export.source import Source, Written, needed
from nima_cli.engine.model.layout import architecture, gguf_name, rope_layout
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError
from nima_cli.files import atomic_write, make_folder, write_text

FREQUENCIES = "rope_freqs.weight"
_FILE_TYPES = {
    "float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0",
    "q4_0": "MOSTLY_Q4_0",
}  # fmt: skip
_YARN_ENDS = (1.0, 32.0)  # llama.cpp's own


def export(source: Source, path: Path) -> Written:
    """Write the file `path` atomically, and a file for Ollama beside it."""
    where = str(path)
    check_layout(source.shape, where)
    vocabulary = vocabulary_of(source.tokenizer, source.shape.vocab_size, where)
    said: list[str] = []

    def check(part: Path) -> None:
        said.append(_compare(part, source, vocabulary, where))

    make_folder(path.parent)
    with atomic_write(path, verify=check) as stream:
        write(Path(stream.name), source, vocabulary)
    files = [path]
    text, notes = ollama.modelfile(path.name, source, vocabulary)
    if text is not None:
        files.append(places.modelfile_path(path))
        write_text(files[-1], text)
    if left := left_in_float16(source.shape, source.dtype):
        notes.append(f"32 does not divide the width of these, which stay in float16: {', '.join(left)}")
    unsure = [f"text from llama.cpp itself: nima does not contain it (llama-cli -m {path.name} -p Hello)"]
    notes += limits(source.tokenizer, vocabulary)
    return Written(tuple(files), source.shape.parameters(), said, unsure, notes)


def check_layout(shape: ModelShape, where: str) -> None:
    """Raise `CheckpointError` for a shape that no architecture of llama.cpp has."""
    if shape.qk_norm and shape.qkv_bias:
        problem = "no architecture of llama.cpp has both `qk_norm` and `qkv_bias`"
    elif shape.rope_scaling is not None and shape.rope_scaling.kind == "llama3" and architecture(shape) != "llama":
        problem = (
            f"llama.cpp scales positions as Llama 3 does in Llama's layout only, not in that of {architecture(shape)}"
        )
    else:
        return
    raise CheckpointError(f"{where}: {problem}", hint="use `format=hf` or `format=safetensors`")


def write(path: Path, source: Source, vocabulary: Vocabulary) -> None:
    """Write `path` as llama.cpp's converter would, with nima's mark near the beginning."""
    gguf = needed("gguf")
    writer = gguf.GGUFWriter(path, architecture(source.shape))
    writer.add_string(places.GGUF_MARK, source.facts()["nima_version"])
    writer.add_type("model")
    writer.add_name(source.name)
    writer.add_license(source.licence)
    writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[source.dtype]))
    if source.dtype in QUANTIZED:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if source.pretrained is not None:
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, source.pretrained)
    for key, value in (_sizes(source.shape) | _scaling(source.shape) | vocabulary).items():
        getattr(writer, f"add_{key}")(value)
    if (factors_E := rope_factors(source.shape)) is not None:
        writer.add_tensor(FREQUENCIES, factors_E.numpy())
    types = tensor_types(source.shape, source.dtype)
    for name, tensor in source.tensors.items():
        values = packed(rope_layout(name, tensor, source.shape), types[name])
        writer.add_tensor(gguf_name(name), values, raw_dtype=gguf.GGMLQuantizationType[types[name]])
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


def _scaling(shape: ModelShape) -> dict[str, Any]:
    """The keys of scaled positions; for Llama 3's there is a tensor instead, see `rope_factors`."""
    scaling = shape.rope_scaling
    if scaling is None or scaling.kind == "llama3":
        return {}
    kind = needed("gguf").RopeScalingType(scaling.kind)
    keys: dict[str, Any] = {"rope_scaling_type": kind, "rope_scaling_factor": scaling.factor}
    if scaling.kind == "yarn":
        keys["rope_scaling_orig_ctx_len"] = scaling.original_context
        # llama.cpp multiplies this with the sharpness that follows from the factor.
        keys["rope_scaling_attn_factors"] = scaling.attention_factor / (1.0 + 0.1 * math.log(scaling.factor))
        if (scaling.low, scaling.high) != _YARN_ENDS:
            keys |= {"rope_scaling_yarn_beta_slow": scaling.low, "rope_scaling_yarn_beta_fast": scaling.high}
    return keys


def rope_factors(shape: ModelShape) -> torch.Tensor | None:
    """What each frequency of a head is divided by, [E]; None for what `_scaling` says."""
    scaling = shape.rope_scaling
    if scaling is None or scaling.kind != "llama3":
        return None
    half = shape.head_dim // 2
    plain = [shape.rope_theta ** (-index / half) for index in range(half)]
    scaled = scaling.scaled(plain, shape.rope_theta)
    return torch.tensor([one / other for one, other in zip(plain, scaled, strict=True)], dtype=torch.float32)


def _compare(path: Path, source: Source, vocabulary: Vocabulary, where: str) -> str:
    """Compare a file with the checkpoint, and say what was found."""
    reader = needed("gguf").GGUFReader(path)
    tokens = lists(vocabulary)
    for key, values in tokens.items():
        verify.compare(reader.fields[f"tokenizer.ggml.{key}"].contents(), values, where, f"its {key}")
    ids = check_reading(path, source.tokenizer, where)
    found = _tensors(reader, source)
    for name, tensor in source.tensors.items():
        verify.compare(torch.equal(found[name], tensor.float()), True, where, f"the values of `{name}`")
    logits = source.compare(found, where)
    what = "tokens, scores and types" if "scores" in tokens else "tokens, merges and types"
    told = f"read back by gguf: {len(found)} tensors, {logits}, {len(tokens['tokens']):,} equal {what}{ids}"
    if source.dtype not in QUANTIZED:
        return told
    moved = [(one - other).abs() for one, other in zip(source.rounded_logits, source.logits, strict=True)]
    mean, largest = float(torch.cat(moved).mean()), max(float(one.max()) for one in moved)
    return f"{told}; {source.dtype} moves the logits by {mean:.2g} on average, {largest:.2g} at most"


def _tensors(reader: Any, source: Source) -> dict[str, torch.Tensor]:
    """The tensors of a file in float32 by nima's names and in nima's order of rows."""
    sizes = source.shape.tensors()
    names = {gguf_name(name): name for name in sizes}
    found = {}
    for tensor in reader.tensors:
        if tensor.name == FREQUENCIES:
            continue
        name = names[tensor.name]
        values = torch.from_numpy(needed("gguf").quants.dequantize(tensor.data, tensor.tensor_type).copy())
        found[name] = rope_layout(name, values.reshape(sizes[name]), source.shape, back=True)
    return found
