"""What every format writes: weights in their target type, the tokenizer, and public facts; writes nothing itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.checkpoint import load_for_inference
from nima_cli.engine.data.dataset_files import METADATA, read_metadata
from nima_cli.engine.data.tokenizer import Tokenizer
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError, DataError, NimaError, ResourceError
from nima_cli.files import sha256_file

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
        dataset: the metadata of the dataset it was trained on, if that is at hand.
        licence: what the card and the file say; an identifier such as `mit`.
    """

    name: str
    shape: ModelShape
    tensors: dict[str, torch.Tensor]
    dtype: str
    tokenizer: Tokenizer
    header: Mapping[str, Any]
    dataset: Mapping[str, Any] | None
    licence: str

    def facts(self) -> dict[str, Any]:
        """The facts that leave the house: no path, no setting."""
        return {"nima_version": __version__, **{key: self.header[key] for key in _PUBLIC if key in self.header}}


def read_source(
    checkpoint: Path, *, name: str, dtype: str, licence: str, data: Path | None, matrices_only: bool
) -> Source:
    """Load a checkpoint and cast its weights.

    Args:
        data: the dataset it was trained on, for the model card; None looks where it was then.
        matrices_only: leave the gains of the norms in float32.

    Raises:
        CheckpointError: the checkpoint is unusable, or a weight does not fit the type.
        DataError: `data` is not the dataset that the checkpoint was trained on.
    """
    model, tokenizer, loaded = load_for_inference(checkpoint)
    tensors = {}
    for key, tensor in model.state_dict().items():
        cast = tensor.to(torch.float32 if matrices_only and tensor.ndim == 1 else DTYPES[dtype]).contiguous()
        if not bool(torch.isfinite(cast).all()):
            raise CheckpointError(f"{checkpoint}: `{key}` has values beyond {dtype}", hint="use --dtype bfloat16")
        tensors[key] = cast
    dataset = _dataset(loaded.header, data) if data is not None else _usual_dataset(loaded.header)
    return Source(name, loaded.shape, tensors, dtype, tokenizer, loaded.header, dataset, licence)


def _dataset(header: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    metadata = read_metadata(folder)
    if sha256_file(folder / METADATA) != header.get("dataset_sha256"):
        raise DataError(f"{folder}: not the dataset that this checkpoint was trained on, or prepared anew since")
    return metadata


def _usual_dataset(header: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The dataset that the run's settings name, if it is still there and still the same."""
    settings = header.get("config", {}).get("data")
    folder = settings.get("dir") if isinstance(settings, dict) else None
    if not isinstance(folder, str) or "\0" in folder:
        return None
    try:
        return _dataset(header, Path(folder))
    except NimaError:
        return None


def needed(package: str) -> ModuleType:
    """A package of the extra `export`.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ResourceError(
            f"the package `{package}` is needed for this format", hint="pip install 'nima[export]'"
        ) from error
