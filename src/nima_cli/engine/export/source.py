"""What every format writes: weights in their target type, the tokenizer, and public facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.checkpoint.file import load_for_inference
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError, ResourceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Facts of the header that say nothing about the machine or the folders of whoever trained the model.
_PUBLIC = ("step", "epoch", "tokens", "best", "conversations", "dataset_sha256", "tokenizer_sha256", "train_seconds")


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint on its way out.

    Attributes:
        name: what the model is called, from the name of the output.
        tensors: nima's parameter names to tensors, in `dtype`.
        dtype: float32, bfloat16 or float16.
        header: the checkpoint's facts.
        licence: what the card and the file say; an identifier such as `mit`.
    """

    name: str
    shape: ModelShape
    tensors: dict[str, torch.Tensor]
    dtype: str
    tokenizer: Tokenizer
    header: Mapping[str, Any]
    licence: str

    def facts(self) -> dict[str, Any]:
        """The facts that leave the house: no path, no setting."""
        return {"nima_version": __version__, **{key: self.header[key] for key in _PUBLIC if key in self.header}}


def read_source(checkpoint: Path, *, name: str, dtype: str, licence: str, matrices_only: bool) -> Source:
    """Load a checkpoint and cast its weights.

    Args:
        matrices_only: leave the gains of the norms in float32.

    Raises:
        CheckpointError: the checkpoint is unusable, or a weight does not fit the type.
    """
    model, tokenizer, loaded = load_for_inference(checkpoint)
    tensors = {}
    for key, tensor in model.state_dict().items():
        cast = tensor.to(torch.float32 if matrices_only and tensor.ndim == 1 else DTYPES[dtype]).contiguous()
        if not bool(torch.isfinite(cast).all()):
            raise CheckpointError(f"{checkpoint}: `{key}` has values beyond {dtype}", hint="use `dtype=bfloat16`")
        tensors[key] = cast
    return Source(name, loaded.shape, tensors, dtype, tokenizer, loaded.header, licence)


def needed(package: str) -> ModuleType:
    """A package of the extra `export`."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ResourceError(
            f"the package `{package}` is needed for this format", hint="pip install 'nima[export]'"
        ) from error
