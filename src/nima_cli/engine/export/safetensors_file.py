"""Weights as one safetensors file: with nima's own names and facts, or under the names of a Hugging Face model.

The format: https://huggingface.co/docs/safetensors/index#format. Written here, read back with the package.
"""

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
    """A file that is enough on its own: facts, sizes and the tokenizer are its metadata, as text."""
    metadata = {
        **places.safetensors_metadata(__version__),
        "facts": json.dumps(source.facts(), ensure_ascii=False, allow_nan=False),
        "model_shape": json.dumps(source.shape.to_dict()),
        "tokenizer_base64": base64.b64encode(source.tokenizer.proto).decode("ascii"),
        "license": source.licence,
    }
    write_tensors(path, source.tensors, metadata)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """The length of the header, the header as JSON, and the tensors without a gap between them.

    The package's own writer puts the metadata in another order each time; the same model shall give the same bytes.
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
    """The tensors as the package reads them, which are those of the checkpoint bit for bit, under renamed names."""
    found: dict[str, torch.Tensor] = needed("safetensors.torch").load(path.read_bytes())
    verify.compare(sorted(found), sorted(map(rename, source.tensors)), where, "the names of tensors")
    for name, tensor in source.tensors.items():
        one = found[rename(name)]
        same = one.dtype == tensor.dtype and torch.equal(one, tensor)
        verify.compare(same, True, where, f"the values of `{name}`")
    return found
