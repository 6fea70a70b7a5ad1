"""Writes safetensors files; the format: https://huggingface.co/docs/safetensors/index#format."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.export import places, verify
from nima_cli.engine.export.source import Source, Written, needed
from nima_cli.files import atomic_write, make_folder

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def export(source: Source, path: Path) -> Written:
    """Write the file `path` atomically: weights under nima's names; facts, model shape and tokenizer as metadata."""
    metadata = {
        **places.safetensors_metadata(__version__),
        "facts": json.dumps(source.facts(), ensure_ascii=False, allow_nan=False),
        "model_shape": json.dumps(source.shape.to_dict()),
        "tokenizer_base64": base64.b64encode(source.tokenizer.proto).decode("ascii"),
        "license": source.licence,
    }
    said: list[str] = []

    def check(part: Path) -> None:
        found = read_back(part, source.tensors, str(path))
        said.append(f"read back by safetensors: {len(found)} equal tensors, {source.compare(found, str(path))}")

    make_folder(path.parent)
    with atomic_write(path, verify=check) as stream:
        write_tensors(Path(stream.name), source.tensors, metadata)
    return Written((path,), source.shape.parameters(), said, [], [])


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


def read_back(path: Path, expected: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """The tensors as the package reads them, once they are found to be those expected, bit for bit."""
    found: dict[str, torch.Tensor] = needed("safetensors.torch").load(path.read_bytes())
    verify.compare(sorted(found), sorted(expected), where, "the names of tensors")
    for name, tensor in expected.items():
        same = found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
        verify.compare(same, True, where, f"the values of `{name}`")
    return found
