"""Tensors in untrusted files: compared with the shape and with the memory that is free, then read one at a time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.packages import needed
from nima_cli.errors import CheckpointError, ResourceError

_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
GGUF_FILES = "GGUF files"  # what wants the package
_CHUNK = 1 << 20  # bytes of quantised numbers that are undone at once


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that has not been read: `nbytes` from `start` on in an open file.

    Attributes:
        name: in the file.
        dtype: F32, F16 and BF16 are read as they are, every other type of GGUF as float32.
    """

    file: IO[bytes]
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def memory(self) -> int:
        """Bytes that it takes once it is read."""
        return self.numbers * _PLAIN.get(self.dtype, torch.float32).itemsize


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """A model that has been opened and checked, no weight of which has been read.

    Attributes:
        format: hf or gguf.
        layout: what transformers calls such models: llama, mistral, qwen2 or qwen3.
        tensors: by nima's names, in nima's order.
        tokenizer_files: `tokenizer.json` and what belongs to it, by name.
        licence: None if the file does not say.
        tied_head: a copy of the embedding that the file holds although it says that the two are one.
    """

    path: Path
    format: str
    layout: str
    shape: ModelShape
    tensors: Mapping[str, StoredTensor]
    tokenizer_files: Mapping[str, str]
    licence: str | None = None
    tied_head: StoredTensor | None = None


def check_fit(
    where: Path, shape: ModelShape, found: Mapping[str, StoredTensor], their_name: Callable[[str], str]
) -> dict[str, StoredTensor]:
    """The tensors of a model by nima's names, in nima's order.

    Args:
        found: by nima's names.
        their_name: the name in the file for one of nima's.

    Raises:
        CheckpointError: names the first tensors that are missing, unknown or of another size.
    """
    sizes = shape.tensors()
    wrong = [f"`{their_name(name)}` is missing" for name in sizes if name not in found]
    wrong += [f"`{shown(found[name].name)}` is not part of such a model" for name in found if name not in sizes]
    wrong += [
        f"`{found[name].name}` is {found[name].shape}, expected {size}"
        for name, size in sizes.items()
        if name in found and found[name].shape != size
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(f"{where}: does not fit its own description: {'; '.join(wrong[:3])}{more}")
    return {name: found[name] for name in sizes}


def loading_memory(shape: ModelShape, tensors: Mapping[str, StoredTensor]) -> int:
    """Bytes for all weights, for a second copy of the largest one, and for the model's table of rotary angles."""
    sizes = [tensor.memory for tensor in tensors.values()]
    return sum(sizes) + max(sizes) + 4 * shape.context_length * shape.head_dim


def check_memory(where: Path, shape: ModelShape, tensors: Mapping[str, StoredTensor], free: int | None) -> None:
    """Raise `ResourceError` with the arithmetic if the model does not fit into so many free bytes; None if unknown."""
    wanted = loading_memory(shape, tensors)
    if free is None or wanted <= free:
        return
    weights = sum(tensor.memory for tensor in tensors.values())
    parameters = shape.parameters()
    raise ResourceError(
        f"{where}: not enough memory to load it: {parameters:,} parameters of {weights / parameters:.1f} bytes are "
        f"{_gigabytes(weights)}, with what loading takes beside them {_gigabytes(wanted)}; {_gigabytes(free)} are free",
        hint="close other programs, or take a smaller model",
    )


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"


def read(stored: StoredTensor) -> torch.Tensor:
    """The tensor in memory of its own.

    Raises:
        CheckpointError: the file became shorter, or a value is not finite.
        ResourceError: a package is missing.
    """
    stored.file.seek(stored.start)
    values = _plain(stored) if stored.dtype in _PLAIN else _dequantized(stored)
    if not all(math.isfinite(bound) for bound in values.aminmax()):
        raise CheckpointError(f"{stored.file.name}: `{shown(stored.name)}` holds values that are not finite")
    return values


def _plain(stored: StoredTensor) -> torch.Tensor:
    buffer = torch.empty(stored.nbytes, dtype=torch.uint8)
    _fill(stored, buffer.numpy())
    return buffer.view(_PLAIN[stored.dtype]).view(stored.shape)


def _dequantized(stored: StoredTensor) -> torch.Tensor:
    """Undo the quantisation of some rows at a time."""
    gguf = needed("gguf", extra="pretrained", what=GGUF_FILES)
    quants, types = gguf.quants, gguf.GGMLQuantizationType
    values = torch.empty(stored.shape)
    rows = values.view(-1, stored.shape[-1])
    row_bytes = stored.nbytes // len(rows)
    at_once = max(1, _CHUNK // row_bytes)
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        raw = np.empty((len(part), row_bytes), dtype=np.uint8)
        _fill(stored, raw)
        with np.errstate(all="ignore"):  # of a hostile file; what comes of it is found afterwards
            part.numpy()[...] = quants.dequantize(raw, types[stored.dtype])
    return values


def _fill(stored: StoredTensor, array: np.ndarray) -> None:
    """Read the next bytes of the file into an array of as many."""
    view = array.reshape(-1).data
    while view:
        count = stored.file.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise CheckpointError(f"{stored.file.name}: became shorter while it was read")
        view = view[count:]
