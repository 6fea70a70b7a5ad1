"""Torch archives written by hand, objects that act when unpickled, and how such a file is refused."""

import collections
import io
import json
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint, load_for_inference
from nima_cli.engine.checkpoint.header import FORMAT
from nima_cli.errors import CheckpointError


class RunsACommand:
    """Unpickling this runs a shell command that leaves a mark."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


class Evaluates:
    """Unpickling this evaluates Python text that leaves a mark."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.marker)!r}, 'w').close()",)


class LoadsInside:
    """Unpickling this makes torch unpickle, unguarded, the bytes that it carries."""

    def __init__(self, payload: Any) -> None:
        stream = io.BytesIO()
        torch.save(payload, stream)
        self.carried = stream.getvalue()

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.carried,)


@dataclass(frozen=True)
class Storage:
    """The bytes under tensors, as a pickle refers to them: a kind, the name of an archive entry, and a length."""

    elements: int
    kind: Any = torch.FloatStorage
    key: str = "0"


class Claim:
    """A tensor that claims any sizes and strides over a storage."""

    def __init__(
        self,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *,
        storage: Storage = Storage(16),
        offset: int = 0,
        metadata: dict[str, bool] | None = None,
    ) -> None:
        extra = [metadata] if metadata else []
        self.arguments = (storage, offset, size, stride, False, collections.OrderedDict(), *extra)

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self.arguments


class _Pickler(pickle._Pickler):
    """Python's own pickler, with storages by reference, as torch writes them."""

    def persistent_id(self, value: Any) -> Any:
        return ("storage", value.kind, value.key, "cpu", value.elements) if isinstance(value, Storage) else None


def write_archive(path: Path, data: bytes, *, extra: dict[str, bytes] | None = None) -> Path:
    """The archive that `torch.save` would write around this pickle, with more entries of any name."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


def write_claims(path: Path, value: Any, **storages: bytes) -> Path:
    """An archive of `value`, with the bytes of storage `0` as `at_0` and so on; by default 64 bytes."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=2).dump(value)
    entries = {"at_0": bytes(64), **storages}
    extra = {f"archive/data/{name.removeprefix('at_')}": content for name, content in entries.items()}
    return write_archive(path, stream.getvalue(), extra=extra)


def payload_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `save` would put into the file, to be changed before it is written."""
    header = {**checkpoint.header, "nima_version": "0.1.0", "model_shape": checkpoint.shape.to_dict()}
    return {
        "nima_format": FORMAT,
        "header": json.dumps(header),
        "tokenizer": torch.frombuffer(bytearray(checkpoint.tokenizer_proto), dtype=torch.uint8),
        "model": {name: tensor.clone() for name, tensor in checkpoint.model.items()},
    }


def contents(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Every tensor's bytes."""
    tensors = {f"model {name}": tensor for name, tensor in checkpoint.model.items()}
    for name, state in (checkpoint.optimizer or {}).items():
        tensors |= {f"optimizer {name} {key}": tensor for key, tensor in state.items()}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()} | {"proto": checkpoint.tokenizer_proto}


def refusal(path: Path) -> str:
    """The one line with which this file is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_for_inference(path)
    error = caught.value
    assert error.exit_code == 3
    assert error.message.startswith(f"{path}: ")
    assert len(error.message.splitlines()) == 1
    assert len(error.message) < len(str(path)) + 600
    return error.message.removeprefix(f"{path}: ")
