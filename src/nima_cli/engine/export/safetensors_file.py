"""Writes safetensors files; the format: https://huggingface.co/docs/safetensors/index#format."""

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.export import places, verify
from nima_cli.engine.export.source import Source, needed

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def write(path: Path, source: Source) -> None:
    """Write weights under nima's names; facts, model shape and tokenizer are in the metadata."""
    metadata = {
        **places.safetensors_metadata(__version__),
        "facts": json.dumps(source.facts(), ensure_ascii=False, allow_nan=False),
        "model_shape": json.dumps(source.shape.to_dict()),
        "tokenizer_base64": base64.b64encode(source.tokenizer.proto).decode("ascii"),
        "license": source.licence,
    }
    write_tensors(path, source.tensors, metadata)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write the length of the header, the header as JSON, and the tensors without gaps.

    The writer of the package changes the order of the metadata, so that one model would not always give the same bytes.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            stream.write(tensor.contiguous().view(torch.uint8).numpy().tobytes())


def read_back(
    path: Path, source: Source, where: str, rename: Callable[[str], str] = lambda name: name
) -> dict[str, torch.Tensor]:
    """The tensors as the package reads them, once they are found to be bit for bit those of the checkpoint."""
    found: dict[str, torch.Tensor] = needed("safetensors.torch").load(path.read_bytes())
    verify.compare(sorted(found), sorted(map(rename, source.tensors)), where, "the names of tensors")
    for name, tensor in source.tensors.items():
        one = found[rename(name)]
        same = one.dtype == tensor.dtype and torch.equal(one, tensor)
        verify.compare(same, True, where, f"the values of `{name}`")
    return found
