"""Loads the checkpoint to export: weights in their target type, the tokenizer, and public facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.checkpoint.file import Checkpoint, for_inference
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.export import verify
from nima_cli.engine.model.layout import architecture
from nima_cli.engine.model.lora import Lora
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.pretrained.model_file import read_model
from nima_cli.errors import CheckpointError, ResourceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Keys of the header that tell nothing about the machine or folders on which the model was trained.
_PUBLIC = ("step", "epoch", "tokens", "best", "conversations", "dataset_sha256", "tokenizer_sha256", "train_seconds")
# Layouts of transformers that compute the same.
_ALIKE = {"llama": ("llama", "mistral"), "qwen2": ("qwen2",), "qwen3": ("qwen3",)}

Rounding = Callable[[str, torch.Tensor, ModelShape], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Adapters:
    """What a LoRA run trained: adapter matrices by parameter name, and the weights that they adapt."""

    lora: Lora
    tensors: Mapping[str, torch.Tensor]
    base: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint to export.

    Attributes:
        name: of the model, from the name of the output.
        tensors: by nima's parameter names, rounded to `dtype`, with adapters merged.
        logits: of the checkpoint's weights for `verify.sample_rows`.
        rounded_logits: the same of `tensors`.
        licence: an identifier such as `mit`.
    """

    name: str
    shape: ModelShape
    tensors: dict[str, torch.Tensor]
    dtype: str
    tokenizer: Tokenizer
    header: Mapping[str, Any]
    logits: list[torch.Tensor]
    rounded_logits: list[torch.Tensor]
    licence: str
    adapters: Adapters | None = None

    @property
    def layout(self) -> str:
        """What transformers calls the layout: llama, mistral, qwen2 or qwen3."""
        alike = _ALIKE[architecture(self.shape)]
        return named if (named := self.header.get("layout")) in alike else alike[0]

    @property
    def pretrained(self) -> str | None:
        """The name of the model that it was tuned from; None if it began with random weights."""
        return self.header.get("pretrained")

    @property
    def base_repository(self) -> str | None:
        """That model on the Hugging Face hub, if it is known by an address there; else the name that is known."""
        return self.pretrained.removeprefix("hf:") if self.pretrained is not None else None

    def facts(self) -> dict[str, Any]:
        """The facts to publish: no paths and no settings."""
        facts = {"nima_version": __version__, **{key: self.header[key] for key in _PUBLIC if key in self.header}}
        return facts if self.pretrained is None else {**facts, "pretrained": self.pretrained, "layout": self.layout}

    def compare(self, found: Mapping[str, torch.Tensor], where: str) -> str:
        """Say how far the logits of tensors that were read back are from those of `tensors`; see `compare_logits`."""
        rows = verify.sample_rows(self.tokenizer, self.shape.context_length)
        own = verify.own_logits(self.shape, found, rows)
        return f"{verify.compare_logits(own, self.rounded_logits, where)} in nima's model"


@dataclass(frozen=True, slots=True)
class Written:
    """What an exporter wrote beside the model card, and what it found out.

    Attributes:
        parameters: numbers in the files.
        verified: what was compared after reading the files back.
        unverified: what could not be, and why.
        notes: what users should know about the files.
    """

    files: tuple[Path, ...]
    parameters: int
    verified: list[str]
    unverified: list[str]
    notes: list[str]


def read_source(checkpoint: Path, *, name: str, dtype: str, licence: str, rounding: Rounding) -> Source:
    """Load a checkpoint and round its weights to what `rounding` returns for a name, a tensor and the shape."""
    loaded = read_model(checkpoint)
    model, tokenizer = for_inference(loaded, where=checkpoint)
    rows = verify.sample_rows(tokenizer, loaded.shape.context_length)
    logits = rounded_logits = verify.logits_of(model, rows)
    tensors = {}
    for key, tensor in model.state_dict().items():
        tensors[key] = rounding(key, tensor, loaded.shape).contiguous()
        if tensors[key] is not tensor and not bool(torch.isfinite(tensors[key]).all()):
            raise CheckpointError(f"{checkpoint}: `{key}` has values beyond {dtype}", hint="use `dtype=bfloat16`")
    if dtype != "float32":
        rounded_logits = verify.own_logits(loaded.shape, tensors, rows)
    return Source(
        name, loaded.shape, tensors, dtype, tokenizer, loaded.header, logits, rounded_logits, licence, _adapters(loaded)
    )  # fmt: skip


def _adapters(loaded: Checkpoint) -> Adapters | None:
    lora, tensors = loaded.lora, loaded.inference_adapters
    return Adapters(lora, tensors, loaded.model) if lora is not None and tensors is not None else None


def needed(package: str) -> ModuleType:
    """Import a package of the extra `export`."""
    try:
        return import_module(package)
    except ImportError as error:
        problem = f"the package `{package}` is needed for this format"
        raise ResourceError(problem, hint="pip install 'nima[export]'") from error
