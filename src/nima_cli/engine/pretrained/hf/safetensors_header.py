"""Reads the header of a safetensors file; the format: https://huggingface.co/docs/safetensors/index#format.

The package maps a file and allocates before its sizes can be compared with anything, so this is a reader of our own.
"""

import math
import os
from typing import IO, Any

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.pretrained.strict import damaged, parse_json
from nima_cli.engine.pretrained.weights import StoredTensor
from nima_cli.errors import CheckpointError

_LARGEST_HEADER = 16 << 20  # bytes; the most tensors that a shape allows need 2 MB
_ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


def read_header(file: IO[bytes]) -> dict[str, StoredTensor]:
    """The tensors of an open file by their names; their bytes lie one after the other up to its end.

    Raises:
        CheckpointError: it is no safetensors file, is damaged, or holds numbers of a type that nima does not read.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
        what = f"its header would have {length:,} bytes, the file has {size:,}"
        raise damaged(file.name, f"not a safetensors file, or cut off: {what}")
    entries = parse_json(file.read(length), file.name)
    if not isinstance(entries, dict):
        raise damaged(file.name, "its header is not an object")
    entries.pop("__metadata__", None)
    tensors = {name: _tensor(file, name, entry, 8 + length) for name, entry in entries.items()}
    end = 8 + length
    for tensor in sorted(tensors.values(), key=lambda one: one.start):
        if tensor.start != end:
            raise damaged(file.name, f"the bytes of `{shown(tensor.name)}` overlap others, or leave a gap")
        end += tensor.nbytes
    if end != size:
        raise damaged(file.name, f"its tensors end at byte {end:,}, the file at {size:,}: it was cut off, or joined")
    return tensors


def _tensor(file: IO[bytes], name: str, entry: Any, data: int) -> StoredTensor:
    """One entry of the header; `data` is where the bytes of the tensors begin."""
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, start, end)
    except (TypeError, KeyError, ValueError) as error:
        raise damaged(file.name, f"`{shown(name)}` has no type, shape or place") from error
    if dtype not in _ITEM_BYTES:
        raise CheckpointError(
            f"{file.name}: `{shown(name)}` is of the type {shown(dtype)}, nima reads {', '.join(_ITEM_BYTES)}",
            hint="take the model as it was before it was quantised",
        )
    if len(shape) > 8 or any(type(number) is not int or not 0 <= number < 2**63 for number in numbers):
        raise damaged(file.name, f"`{shown(name)}` has a size or place that is no number of bytes")
    if end - start != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise damaged(file.name, f"`{shown(name)}` has {end - start:,} bytes, not those of {shape} in {dtype}")
    return StoredTensor(file, name, dtype, shape, data + start, end - start)
