"""Saves and loads one self-contained file: weights, tokenizer, optimizer and facts; knows no training loop.

Format version 1, documented in `docs/checkpoint_format.md`. A checkpoint alone is enough to evaluate, generate, chat
and resume. Only plain values and dense CPU tensors are in it; the facts are JSON text, so that no class of ours or of a
library is ever pickled.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeGuard

import torch

from nima_cli import __version__
from nima_cli.engine.checkpoint.files import checkpoint_files, find, step_files
from nima_cli.engine.checkpoint.header import FORMAT, MIGRATIONS, read_header
from nima_cli.engine.checkpoint.scan import check_untrusted, load_untrusted, shown
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.files import atomic_write, explain, write_json

_DTYPES = {torch.float32, torch.bfloat16, torch.float16}

OptimizerState = dict[str, dict[str, torch.Tensor]]


@dataclass(slots=True)
class Checkpoint:
    """What one file holds.

    Attributes:
        shape: of the model.
        model: parameter name to tensor, plain names, tied weights once.
        tokenizer_proto: the SentencePiece model's bytes.
        header: plain facts: config, step, best value, seed, dataset hash and so on; strict JSON.
        optimizer: parameter name to its tensors; None in a file made for use, not for resuming.
        ema: parameter name to its moving average; None where the run keeps none.
    """

    shape: ModelShape
    model: dict[str, torch.Tensor]
    tokenizer_proto: bytes
    header: dict[str, Any] = field(default_factory=dict)
    optimizer: OptimizerState | None = None
    ema: dict[str, torch.Tensor] | None = None

    @property
    def inference_weights(self) -> dict[str, torch.Tensor]:
        """The weights to use the model with: the average where the run found that it predicts better."""
        return self.ema if self.ema is not None and self.header.get("inference_weights") == "ema" else self.model

    def nbytes(self) -> int:
        """Bytes of all its tensors; the file is a little larger."""
        groups = [self.model, *(self.optimizer or {}).values(), self.ema or {}]
        return sum(tensor.nbytes for group in groups for tensor in group.values())


def save(path: Path, checkpoint: Checkpoint) -> int:
    """Write `path`, all or nothing, and check its every byte before the name exists; returns its size in bytes.

    Raises:
        ResourceError: the disk or permissions refused; an earlier file of that name is untouched.
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
        "model": {name: _plain(tensor) for name, tensor in checkpoint.model.items()},
    }
    if checkpoint.optimizer is not None:
        payload["optimizer"] = {
            name: {key: _plain(tensor) for key, tensor in state.items()} for name, state in checkpoint.optimizer.items()
        }
    if checkpoint.ema is not None:
        payload["ema"] = {name: _plain(tensor) for name, tensor in checkpoint.ema.items()}
    with atomic_write(path, verify=check_untrusted) as stream:
        _write(payload, stream)
    return path.stat().st_size


def _write(payload: dict[str, Any], stream: IO[bytes]) -> None:
    """`torch.save`, with the disk's own refusal where torch's archive writer fails again on closing and hides it."""
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
    """`save`, with a small JSON beside it for people; the loader never reads that."""
    size = save(path, checkpoint)
    header = checkpoint.header
    facts = {key: header[key] for key in ("step", "epoch", "best") if key in header}
    write_json(path.with_suffix(".json"), {**facts, "parameters": checkpoint.shape.parameters()})
    return size


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A dense CPU copy that owns exactly its own bytes: a view would drag its whole storage into the file."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def load(path: Path) -> Checkpoint:
    """Read and validate a checkpoint file.

    Raises:
        CheckpointError: missing, foreign, damaged, hostile, or of a newer format; says what was found.
        ResourceError: it cannot be read.
    """
    try:
        payload = load_untrusted(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise explain(error, path, "read") from error
    header = read_header(path, payload)
    for migrate in MIGRATIONS[payload["nima_format"] - 1 :]:
        payload, header = migrate(payload, header)
    try:
        shape = ModelShape.from_dict(header.get("model_shape", {}))
    except ValueError as error:
        raise CheckpointError(f"{path}: unusable: {error}") from error
    _check_tensors(path, payload.get("model"), shape.tensors())
    if payload.get("ema") is not None:
        _check_tensors(path, payload["ema"], shape.tensors())
    proto = _read_tokenizer(path, payload, header)
    return Checkpoint(
        shape=shape,
        model=payload["model"],
        tokenizer_proto=proto,
        header=header,
        optimizer=_read_optimizer(path, payload, shape),
        ema=payload.get("ema"),
    )


def _read_tokenizer(path: Path, payload: dict[str, Any], header: dict[str, Any]) -> bytes:
    tensor = payload.get("tokenizer")
    if not _is_plain(tensor) or tensor.dtype is not torch.uint8 or tensor.ndim != 1:
        raise CheckpointError(f"{path}: holds no tokenizer")
    proto: bytes = tensor.numpy().tobytes()
    found = hashlib.sha256(proto).hexdigest()
    if header.get("tokenizer_sha256", found) != found:
        raise CheckpointError(
            f"{path}: its tokenizer is not the one that it was trained with: "
            f"its hash is {found[:12]}, was {shown(header['tokenizer_sha256'][:12])}"
        )
    return proto


def _is_plain(tensor: Any) -> TypeGuard[torch.Tensor]:
    """A dense tensor over bytes of its own: a view of few bytes can claim to be any size, and cost it when used."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
        return False
    return tensor.is_contiguous() and not tensor.is_neg()


def _check_tensors(path: Path, tensors: Any, expected: dict[str, tuple[int, ...]]) -> None:
    """Exactly the names and shapes that the model has, dense, floating, finite."""
    if not isinstance(tensors, dict):
        raise CheckpointError(f"{path}: holds no model")
    wrong = [f"`{name}` is missing" for name in expected if name not in tensors]
    wrong += [f"`{shown(name)}` is not part of this model" for name in tensors if name not in expected]
    for name, size in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if not _is_plain(tensor) or tensor.dtype not in _DTYPES:
            wrong.append(f"`{name}` is not a plain tensor")
        elif tuple(tensor.shape) != size:
            wrong.append(f"`{name}` is {tuple(tensor.shape)}, expected {size}")
        elif not bool(torch.isfinite(tensor).all()):
            wrong.append(f"`{name}` holds values that are not finite")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{path}: does not fit its own model: {'; '.join(wrong[:5])}{more}")


def _read_optimizer(path: Path, payload: dict[str, Any], shape: ModelShape) -> OptimizerState | None:
    state: Any = payload.get("optimizer")
    if state is None:
        return None
    sizes = shape.tensors()
    for name, tensors in state.items() if isinstance(state, dict) else [("optimizer", None)]:
        if name not in sizes or not isinstance(tensors, dict):
            raise CheckpointError(f"{path}: its optimizer state names `{shown(name)}`, which the model does not have")
        for key, tensor in tensors.items():
            fits = _is_plain(tensor) and tuple(tensor.shape) in (sizes[name], ())
            if not fits or tensor.dtype not in _DTYPES or not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(f"{path}: its optimizer state `{name}.{shown(key)}` does not fit the model")
    found: OptimizerState = state
    return found


def newest_valid(run_dir: Path) -> tuple[Path, Checkpoint, list[str]]:
    """The furthest checkpoint of a run that loads, and one message for each that did not.

    Raises:
        CheckpointError: none loads.
    """
    best: tuple[int, Path, Checkpoint] | None = None
    refused: list[str] = []
    try:
        steps = {path: step for step, path in step_files(run_dir).items()}
        files = checkpoint_files(run_dir)
    except OSError as error:
        raise explain(error, run_dir, "look for a checkpoint there") from error
    for path in files:
        if best is not None and steps.get(path, best[0] + 1) <= best[0]:
            continue  # an earlier step need not be read
        try:
            checkpoint = load(path)
        except (CheckpointError, ResourceError) as error:
            refused.append(error.message)
            continue
        step = int(checkpoint.header.get("step", 0))
        if checkpoint.optimizer is not None and (best is None or step > best[0]):
            best = step, path, checkpoint
    if best is None:
        problem = "; ".join(refused) or f"{run_dir}: no checkpoint to resume from"
        raise CheckpointError(problem, hint="start again without --resume")
    return best[1], best[2], refused


def build_model(checkpoint: Checkpoint, *, compute_dtype: torch.dtype = torch.float32, dropout: float = 0.0) -> GPT:
    """A model with the checkpoint's weights, on the CPU, in evaluation mode."""
    with torch.device("meta"):
        model = GPT(checkpoint.shape, dropout=dropout, compute_dtype=compute_dtype)
    model.load_state_dict(checkpoint.inference_weights, strict=True, assign=True)
    return model.eval()


def load_for_inference(path: Path, *, compute_dtype: torch.dtype = torch.float32) -> tuple[GPT, Tokenizer, Checkpoint]:
    """A model ready to generate, its tokenizer, and what else the file says.

    Raises:
        CheckpointError: see `load`; or the tokenizer is unusable or of another vocabulary than the model.
    """
    checkpoint = load(find(path))
    tokenizer = Tokenizer.from_bytes(checkpoint.tokenizer_proto, where=str(path))
    if tokenizer.vocab_size != checkpoint.shape.vocab_size:
        raise CheckpointError(
            f"{path}: its tokenizer has {tokenizer.vocab_size} tokens, its model {checkpoint.shape.vocab_size}"
        )
    return build_model(checkpoint, compute_dtype=compute_dtype), tokenizer, checkpoint
