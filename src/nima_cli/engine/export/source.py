"""Loads the checkpoint to export: weights in their target type, the tokenizer, and public facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.checkpoint.file import load_for_inference
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError, ResourceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Keys of the header that tell nothing about the machine or folders on which the model was trained.
_PUBLIC = ("step", "epoch", "tokens", "best", "conversations", "dataset_sha256", "tokenizer_sha256", "train_seconds")


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint to export.

    Attributes:
        name: of the model, from the name of the output.
        tensors: by nima's parameter names, in `dtype`.
        licence: an identifier such as `mit`.
    """

    name: str
    shape: ModelShape
    tensors: dict[str, torch.Tensor]
    dtype: str
    tokenizer: SentencePieceTokenizer
    header: Mapping[str, Any]
    licence: str

    def facts(self) -> dict[str, Any]:
        """The facts to publish: no paths and no settings."""
        return {"nima_version": __version__, **{key: self.header[key] for key in _PUBLIC if key in self.header}}


def read_source(checkpoint: Path, *, name: str, dtype: str, licence: str, matrices_only: bool) -> Source:
    """Load a checkpoint and cast its weights to `dtype`; with `matrices_only` the norms stay in float32."""
    model, tokenizer, loaded = load_for_inference(checkpoint)
    if not isinstance(tokenizer, SentencePieceTokenizer):
        raise CheckpointError(f"{checkpoint}: its tokenizer is of a pretrained model, which cannot be exported")
    tensors = {}
    for key, tensor in model.state_dict().items():
        cast = tensor.to(torch.float32 if matrices_only and tensor.ndim == 1 else DTYPES[dtype]).contiguous()
        if not bool(torch.isfinite(cast).all()):
            raise CheckpointError(f"{checkpoint}: `{key}` has values beyond {dtype}", hint="use `dtype=bfloat16`")
        tensors[key] = cast
    return Source(name, loaded.shape, tensors, dtype, tokenizer, loaded.header, licence)


def needed(package: str) -> ModuleType:
    """Import a package of the extra `export`."""
    try:
        return import_module(package)
    except ImportError as error:
        problem = f"the package `{package}` is needed for this format"
        raise ResourceError(problem, hint="pip install 'nima[export]'") from error
