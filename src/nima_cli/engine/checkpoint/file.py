"""Saves and loads checkpoints in format 1 of `docs/checkpoint_format.md`: weights, tokenizer, optimizer and header."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeGuard

import torch

from nima_cli import __version__
from nima_cli.engine.checkpoint.archive import Archive, check_archive, open_archive, shown
from nima_cli.engine.checkpoint.files import checkpoint_files, find, step_files
from nima_cli.engine.checkpoint.header import FORMAT, read_header, with_header
from nima_cli.engine.checkpoint.pickle_reader import Storage, StoredTensor
from nima_cli.engine.data.tokenizer.load import tokenizer_from_bytes
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.lora import Lora, merged
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.files import atomic_write, explaining, write_json

_DTYPES = {"float32", "bfloat16", "float16"}

Sizes = dict[str, tuple[int, ...]]
OptimizerState = dict[str, dict[str, torch.Tensor]]


@dataclass(slots=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        model: tensors by parameter name, tied weights once.
        tokenizer_proto: the `proto` of its tokenizer.
        header: config, step, best value, seed, dataset hash and so on, as strict JSON.
        optimizer: its state by parameter name; None if the file is only for inference.
        ema: moving averages of what is trained by parameter name; None if the run keeps none.
        adapters: of a LoRA run by parameter name; `model` is then what they adapt.
    """

    shape: ModelShape
    model: dict[str, torch.Tensor]
    tokenizer_proto: bytes
    header: dict[str, Any] = field(default_factory=dict)
    optimizer: OptimizerState | None = None
    ema: dict[str, torch.Tensor] | None = None
    adapters: dict[str, torch.Tensor] | None = None

    @property
    def inference_weights(self) -> dict[str, torch.Tensor]:
        """The weights for inference: averaged if the run found that this predicts better, with adapters merged."""
        averaged = self.ema if self.header.get("inference_weights") == "ema" else None
        if self.adapters is None or self.lora is None:
            return averaged if averaged is not None else self.model
        return merged(self.model, averaged if averaged is not None else self.adapters, self.lora)

    @property
    def lora(self) -> Lora | None:
        """The kind of its adapters; None without."""
        return _lora_of(self.header)

    @property
    def sequence_length(self) -> int:
        """Tokens of the sequences that it learnt from, in which it is evaluated."""
        trained = self.header.get("config", {}).get("training", {}).get("sequence_length")
        return min(self.shape.context_length, trained) if isinstance(trained, int) else self.shape.context_length

    def nbytes(self) -> int:
        """Bytes of all tensors; the file is a little larger."""
        groups = [self.model, *(self.optimizer or {}).values(), self.ema or {}, self.adapters or {}]
        return sum(tensor.nbytes for group in groups for tensor in group.values())


def save(path: Path, checkpoint: Checkpoint) -> int:
    """Write `path` atomically, after checking each byte of the file; returns its size in bytes.

    Raises:
        ResourceError: the system refused; an earlier file of that name is untouched.
    """
    header = {
        **checkpoint.header,
        "nima_version": __version__,
        "torch_version": str(torch.__version__),
        "model_shape": checkpoint.shape.to_dict(),
    }
    payload: dict[str, Any] = {
        "nima_format": FORMAT,
        "header": json.dumps(header, ensure_ascii=False, allow_nan=False),
        "tokenizer": torch.frombuffer(bytearray(checkpoint.tokenizer_proto), dtype=torch.uint8),
        "model": _plain(checkpoint.model),
    }
    if checkpoint.optimizer is not None:
        payload["optimizer"] = {name: _plain(state) for name, state in checkpoint.optimizer.items()}
    if checkpoint.ema is not None:
        payload["ema"] = _plain(checkpoint.ema)
    if checkpoint.adapters is not None:
        payload["adapters"] = _plain(checkpoint.adapters)
    with atomic_write(path, verify=check_archive) as stream:
        _write(payload, stream)
    return path.stat().st_size


def _write(payload: dict[str, Any], stream: IO[bytes]) -> None:
    """`torch.save`, which raises the disk's own error although torch hides it when closing the archive fails, too."""
    try:
        torch.save(payload, stream)
    except RuntimeError as error:
        hidden = error.__context__
        while hidden is not None and not isinstance(hidden, OSError):
            hidden = hidden.__context__
        if hidden is None:
            raise
        raise hidden from None


def save_best(path: Path, checkpoint: Checkpoint) -> int:
    """`save`, with a small JSON file for people beside it."""
    size = save(path, checkpoint)
    header = checkpoint.header
    facts = {key: header[key] for key in ("step", "epoch", "best") if key in header}
    write_json(path.with_suffix(".json"), {**facts, "parameters": checkpoint.shape.parameters()})
    return size


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Dense CPU copies; torch would write the whole storage of a view."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def load(path: Path, *, tensors: bool = True) -> Checkpoint:
    """Read and validate a checkpoint file; each byte is read once.

    Args:
        tensors: False leaves weights and optimizer unread: their names, sizes and types are on torch's `meta` device.

    Raises:
        CheckpointError: missing, foreign, damaged, hostile, or of a newer format.
        ResourceError: the system refused to read it.
    """
    with open_archive(path) as archive:
        values, header = with_header(path, archive.values)
        try:
            shape = ModelShape.from_dict(header.get("model_shape", {}))
        except ValueError as error:
            raise CheckpointError(f"{path}: unusable: {error}") from error
        lora = _lora_of(header) if values.get("adapters") is not None else None
        if lora is not None and lora.rank < 1:
            raise CheckpointError(f"{path}: unusable: its adapters have rank {lora.rank}")
        sizes = shape.tensors()
        trained = lora.tensors(shape) if lora is not None else sizes
        read = _Reader(path, archive, tensors=tensors)
        return Checkpoint(
            shape=shape,
            model=read.weights(values.get("model"), sizes),
            tokenizer_proto=read.tokenizer(values.get("tokenizer"), header.get("tokenizer_sha256")),
            header=header,
            optimizer=read.optimizer(values.get("optimizer"), trained),
            ema=read.weights(values["ema"], trained) if values.get("ema") is not None else None,
            adapters=read.weights(values["adapters"], trained) if lora is not None else None,
        )


def _lora_of(header: dict[str, Any]) -> Lora | None:
    """What the header says about adapters; the settings of a run have been validated before they were saved."""
    found = header.get("lora")
    return Lora(found["rank"], found["alpha"], tuple(found["targets"])) if found is not None else None


class _Reader:
    """Reads tensors of an archive after checking them against the names and sizes that they must have."""

    def __init__(self, path: Path, archive: Archive, *, tensors: bool) -> None:
        self._path, self._archive, self._tensors = path, archive, tensors
        self._storages: dict[Storage, torch.UntypedStorage] = {}

    def weights(self, found: Any, sizes: Sizes) -> dict[str, torch.Tensor]:
        """One tensor for each parameter: of its size, floating, finite."""
        if not isinstance(found, dict):
            raise CheckpointError(f"{self._path}: holds no model")
        wrong = [f"`{name}` is missing" for name in sizes if name not in found]
        wrong += [f"`{shown(name)}` is not part of this model" for name in found if name not in sizes]
        for name in filter(found.__contains__, sizes):
            if not _is_floating(found[name]):
                wrong.append(f"`{name}` is not a plain tensor")
            elif found[name].size != sizes[name]:
                wrong.append(f"`{name}` is {found[name].size}, expected {sizes[name]}")
        tensors = {} if wrong else {name: self._tensor(stored) for name, stored in found.items()}
        wrong += [f"`{name}` holds values that are not finite" for name in tensors if not _finite(tensors[name])]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise CheckpointError(f"{self._path}: does not fit its own model: {'; '.join(wrong[:5])}{more}")
        return tensors

    def optimizer(self, found: Any, sizes: Sizes) -> OptimizerState | None:
        """Tensors of trained parameters, each a number or of the parameter's size."""
        if found is None:
            return None
        tensors: OptimizerState = {}
        for name, state in found.items() if isinstance(found, dict) else [("optimizer", None)]:
            if name not in sizes or not isinstance(state, dict):
                problem = f"its optimizer state names `{shown(name)}`, which the model does not have"
                raise CheckpointError(f"{self._path}: {problem}")
            tensors[name] = {}
            for key, stored in state.items():
                if _is_floating(stored) and stored.size in (sizes[name], ()):
                    tensors[name][key] = self._tensor(stored)
                if key not in tensors[name] or not _finite(tensors[name][key]):
                    problem = f"its optimizer state `{name}.{shown(key)}` does not fit the model"
                    raise CheckpointError(f"{self._path}: {problem}")
        return tensors

    def tokenizer(self, stored: Any, sha256: str | None) -> bytes:
        """The tokenizer's bytes, compared with their hash in the header."""
        if not isinstance(stored, StoredTensor) or stored.storage.dtype != "uint8" or len(stored.size) != 1:
            raise CheckpointError(f"{self._path}: holds no tokenizer")
        proto: bytes = self._read(stored).numpy().tobytes()
        found = hashlib.sha256(proto).hexdigest()
        if sha256 not in (None, found):
            hashes = f"its hash is {found[:12]}, was {shown(sha256[:12])}"
            raise CheckpointError(f"{self._path}: its tokenizer is not the one that it was trained with: {hashes}")
        return proto

    def _tensor(self, stored: StoredTensor) -> torch.Tensor:
        if self._tensors:
            return self._read(stored)
        return torch.empty(stored.size, dtype=getattr(torch, stored.storage.dtype), device="meta")

    def _read(self, stored: StoredTensor) -> torch.Tensor:
        storage = stored.storage
        if storage not in self._storages:
            buffer = torch.empty(storage.nbytes, dtype=torch.uint8)
            self._archive.read_into(storage, buffer.numpy().data)
            self._storages[storage] = buffer.untyped_storage()
        tensor = torch.empty(0, dtype=getattr(torch, stored.storage.dtype))
        return tensor.set_(self._storages[storage], stored.offset, stored.size, stored.stride)


def _is_floating(stored: Any) -> TypeGuard[StoredTensor]:
    return isinstance(stored, StoredTensor) and stored.storage.dtype in _DTYPES


def _finite(tensor: torch.Tensor) -> bool:
    return tensor.is_meta or bool(torch.isfinite(tensor).all())


def newest_valid(run_dir: Path, *, tensors: bool = True) -> tuple[Path, Checkpoint, list[str]]:
    """The checkpoint with the highest step that loads, and a message for each one that does not.

    The headers decide the order; files are loaded, as `tensors` says, until one can be.

    Raises:
        CheckpointError: no checkpoint loads.
    """
    refused: list[str] = []
    with explaining(run_dir, "look for a checkpoint there"):
        steps = {path: step for step, path in step_files(run_dir).items()}
        files = checkpoint_files(run_dir)
    for path in [path for path in files if path not in steps]:
        try:
            steps[path] = int(read_header(path).get("step", 0))
        except (CheckpointError, ResourceError) as error:
            refused.append(error.message)
    for path in sorted(filter(steps.__contains__, files), key=steps.__getitem__, reverse=True):
        try:
            checkpoint = load(path, tensors=tensors)
        except (CheckpointError, ResourceError) as error:
            refused.append(error.message)
            continue
        if checkpoint.optimizer is not None:
            return path, checkpoint, refused
    problem = "; ".join(refused) or f"{run_dir}: no checkpoint to resume from"
    raise CheckpointError(problem, hint="start a new run, without `resume=auto`")


def build_model(checkpoint: Checkpoint, *, compute_dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> GPT:
    """A model with the weights for inference, on the CPU, in evaluation mode."""
    with torch.device("meta"):
        model = GPT(checkpoint.shape, dropout=dropout, compute_dtype=compute_dtype)
    model.load_state_dict(checkpoint.inference_weights, strict=True, assign=True)
    return model.eval()


def load_for_inference(
    path: Path, *, compute_dtype: torch.dtype = torch.float32, checkpoint: Checkpoint | None = None
) -> tuple[GPT, Tokenizer, Checkpoint]:
    """A model ready to generate, its tokenizer, and the whole checkpoint, unless it has been loaded already.

    Raises:
        CheckpointError: see `load`; or the tokenizer is unusable or does not fit the model.
    """
    checkpoint = checkpoint or load(find(path))
    tokenizer = tokenizer_from_bytes(checkpoint.tokenizer_proto, where=str(path))
    found, rows = tokenizer.vocab_size, checkpoint.shape.vocab_size
    # The embedding of a pretrained model may have more rows than there are tokens.
    if found > rows or (found != rows and tokenizer.kind != "hf"):
        raise CheckpointError(f"{path}: its tokenizer has {found} tokens, its model {rows}")
    return build_model(checkpoint, compute_dtype=compute_dtype), tokenizer, checkpoint
