"""Weights as one safetensors file: with nima's own names and facts, or under the names of a Hugging Face model.

The format: https://huggingface.co/docs/safetensors/index#format. Written here, read back with the package.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.export import places, verify
from nima_cli.engine.export.source import Source, needed

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def own_metadata(source: Source) -> dict[str, str]:
    """What a file needs to be used on its own: facts, sizes and the tokenizer, as text."""
    return {
        "format": "pt",
        places.SAFETENSORS_MARK: source.facts()["nima_version"],
        "facts": json.dumps(source.facts(), ensure_ascii=False, allow_nan=False),
        "model_shape": json.dumps(source.shape.to_dict()),
        "tokenizer_base64": base64.b64encode(source.tokenizer.proto).decode("ascii"),
        "license": source.licence,
    }


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Fill `path`: the length of the header, the header as JSON, and the tensors without a gap between them.

    The package's own writer puts the metadata in another order each time; the same model shall give the same bytes.

    Raises:
        OSError: the disk refused.
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


def read(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file that was just written, as the package reads them.

    Raises:
        ResourceError: the package is not installed.
    """
    tensors: dict[str, torch.Tensor] = needed("safetensors.torch").load(path.read_bytes())
    return tensors


def export(source: Source, path: Path) -> list[str]:
    """Write `path`, all or nothing, and say what reading it back showed.

    Raises:
        InputError: something else is there.
        CheckpointError: what was read back differs.
        ResourceError: the package is missing, or the disk refused.
    """
    verified: list[str] = []

    def check(part: Path) -> None:
        found = read(part)
        verify.check_tensors(found, source, str(path))
        rows = verify.sample_rows(source.tokenizer, source.shape.context_length)
        expected = verify.own_logits(source.shape, source.tensors, rows)
        logits = verify.compare_logits(verify.own_logits(source.shape, found, rows), expected, str(path))
        verified.append(f"read back by safetensors: {len(found)} equal tensors, {logits} in nima's model")

    places.check_file(path)
    places.write_file(path, lambda part: write(part, source.tensors, own_metadata(source)), verify=check)
    return verified
