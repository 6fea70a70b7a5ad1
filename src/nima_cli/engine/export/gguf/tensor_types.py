"""Chooses the type of each tensor in a GGUF file, and rounds values to it."""

from collections.abc import Mapping

import numpy as np
import torch

from nima_cli.engine.export.source import DTYPES, needed
from nima_cli.engine.model.layout import gguf_name
from nima_cli.engine.model.shape import ModelShape

# Blocks of 32 whole numbers with one scale: 8.5 and 4.5 bits a weight.
QUANTIZED = ("q8_0", "q4_0")
_BLOCK = 32
_PLAIN = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def tensor_types(shape: ModelShape, dtype: str) -> dict[str, str]:
    """GGUF's name for the type of each tensor by nima's name; `dtype` is one of torch or of `QUANTIZED`.

    Vectors stay in float32. Of a quantized model a matrix stays in float16 if blocks do not divide its width, and the
    one that the logits are computed with gets eight bits at least, as llama.cpp gives it more bits than to others.
    """
    last = "embed_tokens.weight" if shape.tie_embeddings else "lm_head.weight"
    return {name: _type(size, dtype, is_last=name == last) for name, size in shape.tensors().items()}


def _type(size: tuple[int, ...], dtype: str, *, is_last: bool) -> str:
    if len(size) == 1:
        return "F32"
    if dtype in _PLAIN:
        return _PLAIN[dtype]
    if size[-1] % _BLOCK:
        return "F16"
    return "Q8_0" if is_last else dtype.upper()


def rounded(tensor: torch.Tensor, kind: str) -> torch.Tensor:
    """The nearest values that a type can hold; those of quantized types in float32."""
    plain = {theirs: DTYPES[ours] for ours, theirs in _PLAIN.items()}
    if kind in plain:
        return tensor.to(plain[kind])
    with _beyond_allowed():
        values = needed("gguf").quants.dequantize(packed(tensor, kind), needed("gguf").GGMLQuantizationType[kind])
    return torch.from_numpy(values)


def packed(tensor: torch.Tensor, kind: str) -> np.ndarray:
    """The bytes of a tensor in a type; what `rounded` has given is packed without loss."""
    with _beyond_allowed():
        array: np.ndarray = needed("gguf").quants.quantize(
            tensor.float().numpy(), needed("gguf").GGMLQuantizationType[kind]
        )
    return array


def _beyond_allowed() -> np.errstate:
    """For a block in which what is beyond a type becomes infinite, or no number; it is found afterwards."""
    return np.errstate(all="ignore")


def left_in_float16(shape: ModelShape, dtype: str) -> list[str]:
    """GGUF's names of the matrices that cannot be quantized, with `*` for the layer."""
    types: Mapping[str, str] = tensor_types(shape, dtype) if dtype in QUANTIZED else {}
    names = (gguf_name(name) for name, kind in types.items() if kind == "F16")
    return list(dict.fromkeys(".".join("*" if part.isdigit() else part for part in name.split(".")) for name in names))
