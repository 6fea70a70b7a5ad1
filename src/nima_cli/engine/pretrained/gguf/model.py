"""Opens a GGUF file: the shape of its model, its tensors by nima's names, its tokenizer."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.model.layout import gguf_name
from nima_cli.engine.model.rope_scaling import RopeScaling
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.pretrained.gguf.header import Header, read_header
from nima_cli.engine.pretrained.gguf.tokenizer import read_tokenizer
from nima_cli.engine.pretrained.strict import open_file, show
from nima_cli.engine.pretrained.weights import PretrainedModel, StoredTensor, check_fit, read
from nima_cli.errors import CheckpointError

ARCHITECTURES = ("llama", "qwen2", "qwen3")
_EMBEDDING, _HEAD, _FREQUENCIES = "token_embd.weight", "output.weight", "rope_freqs.weight"
# Keys that change what a model computes, and the values that change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "general.type": ("model",),
    "split.count": (0, 1),
    "{arch}.expert_count": (0,),
    "{arch}.attention.causal": (True,),
    "{arch}.attention.scale": (0.0,),
    "{arch}.attention.clamp_kqv": (0.0,),
    "{arch}.attention.max_alibi_bias": (0.0,),
    "{arch}.attn_logit_softcapping": (0.0,),
    "{arch}.final_logit_softcapping": (0.0,),
    "{arch}.logit_scale": (0.0, 1.0),
    "{arch}.embedding_scale": (0.0, 1.0),
    "{arch}.residual_scale": (0.0, 1.0),
    "{arch}.use_parallel_residual": (False,),
    "{arch}.rope.scaling.yarn_log_multiplier": (0.0,),
    "{arch}.rope.scaling.yarn_ext_factor": (-1.0, 1.0),
    "{arch}.rope.scaling.yarn_attn_factor": (-1.0, 1.0),
}
# Llama 3's bounds of the blend, in waves within the original context (2407.21783).
_LOW, _HIGH = 1.0, 4.0


def open_gguf(path: Path, files: contextlib.ExitStack) -> PretrainedModel:
    """The model in a file, which `files` keeps open and whose weights nobody has read.

    Raises:
        CheckpointError: it holds no model that nima reads.
        ResourceError: the system refused to read it, or a package is missing.
    """
    header = read_header(files.enter_context(open_file(path)))
    tensors = dict(header.tensors)
    facts = _Facts(path, header)
    factors = tensors.pop(_FREQUENCIES, None)
    shape = facts.shape(tensors, factors)
    names = {gguf_name(name): name for name in shape.tensors()}
    found = {names.get(name, name): tensor for name, tensor in tensors.items()}
    licence = header.metadata.get("general.license")
    return PretrainedModel(
        path=path,
        format="gguf",
        layout=facts.architecture,
        shape=shape,
        tensors=check_fit(path, shape, found, gguf_name),
        tokenizer_files=read_tokenizer(header.metadata, str(path)),
        licence=shown(licence) if isinstance(licence, str) else None,
    )


class _Facts:
    """The metadata of an architecture."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path, self._metadata = path, header.metadata
        self.architecture: str = header.metadata.get("general.architecture", "")
        if not isinstance(self.architecture, str) or self.architecture not in ARCHITECTURES:
            raise self._unsupported("general.architecture", self.architecture, ", ".join(ARCHITECTURES))
        for name, neutral in _NEUTRAL.items():
            key = name.format(arch=self.architecture)
            if key in self._metadata and self._metadata[key] not in neutral:
                raise self._unsupported(key, self._metadata[key], " or ".join(map(show, neutral)))

    def _unsupported(self, key: str, value: object, expected: str) -> CheckpointError:
        return CheckpointError(f"{self._path}: `{key}` is {show(value)}; nima reads {expected}")

    def _get(self, name: str, default: Any = None) -> Any:
        """The number at a key of the architecture; raises if it is missing and there is no default."""
        key = f"{self.architecture}.{name}"
        value = self._metadata.get(key, default)
        if value is None:
            raise CheckpointError(f"{self._path}: `{key}` is missing")
        if not isinstance(value, int | float):
            raise self._unsupported(key, value, "one number for all layers")
        return value

    def shape(self, tensors: Mapping[str, StoredTensor], factors: StoredTensor | None) -> ModelShape:
        """The shape, some of which only the tensors tell."""
        width, heads, context = (
            self._get(name) for name in ("embedding_length", "attention.head_count", "context_length")
        )
        if type(width) is not int or type(heads) is not int or heads < 1:
            raise self._unsupported(f"{self.architecture}.attention.head_count", heads, "whole numbers above 0")
        head_dim = self._get("attention.key_length", width // heads)
        for name in ("attention.value_length", "rope.dimension_count"):
            if self._get(name, head_dim) != head_dim:
                raise self._unsupported(f"{self.architecture}.{name}", self._get(name), f"the {head_dim} of a head")
        window = self._get("attention.sliding_window", 0)
        if window and window < context:
            raise self._unsupported(f"{self.architecture}.attention.sliding_window", window, "at least the context")
        embedding = tensors.get(_EMBEDDING)
        sizes = {
            "vocab_size": embedding.shape[0] if embedding is not None else 0,
            "n_layers": self._get("block_count"),
            "d_model": width,
            "n_heads": heads,
            "n_kv_heads": self._get("attention.head_count_kv", heads),
            "head_dim": head_dim,
            "d_ff": self._get("feed_forward_length"),
            "context_length": context,
            "qk_norm": self.architecture == "qwen3",
            "qkv_bias": self.architecture == "qwen2",
            "tie_embeddings": _HEAD not in tensors,
            "norm_epsilon": self._get("attention.layer_norm_rms_epsilon"),
            "rope_theta": self._get("rope.freq_base", 10000.0),
        }
        try:
            shape = ModelShape.from_dict({**sizes, "rope_scaling": self._scaling(context)})
            return shape if factors is None else self._with_factors(sizes, shape, factors)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise CheckpointError(f"{self._path}: {shown(str(error), 200)}") from error

    def _scaling(self, context: Any) -> dict[str, Any] | None:
        """The values of a `RopeScaling`; a file with a factor and no type means a linear one."""
        key = f"{self.architecture}.rope.scaling.type"
        kind = self._metadata.get(key, "linear")
        factor = self._get("rope.scaling.factor", self._get("rope.scale_linear", 1.0))
        sharpness = self._get("rope.scaling.attn_factor", 1.0)
        if kind != "yarn" and sharpness != 1.0:
            raise self._unsupported(f"{self.architecture}.rope.scaling.attn_factor", sharpness, "1.0 beside yarn")
        plain = {"original_context": 1, "low": 1.0, "high": 1.0, "attention_factor": 1.0}
        if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
            return None
        if kind == "linear":
            return {**plain, "kind": kind, "factor": factor}
        if kind != "yarn":
            raise self._unsupported(key, kind, "none, linear, yarn")
        return {
            "kind": kind,
            "factor": factor,
            "original_context": self._get("rope.scaling.original_context_length", context),
            "low": self._get("rope.scaling.yarn_beta_slow", 1.0),
            "high": self._get("rope.scaling.yarn_beta_fast", 32.0),
            "attention_factor": sharpness * (1.0 + 0.1 * math.log(factor)),
        }

    def _with_factors(self, sizes: dict[str, Any], shape: ModelShape, factors: StoredTensor) -> ModelShape:
        """The shape with Llama 3's scaling, of which a file has only what each frequency is divided by."""
        if factors.shape != (shape.head_dim // 2,) or shape.rope_scaling is not None:
            raise self._unsupported(_FREQUENCIES, list(factors.shape), f"{shape.head_dim // 2} numbers, and no scaling")
        divisors = read(factors).double()
        if bool((divisors == 1.0).all()):
            return shape
        scaling = llama3_scaling(divisors, shape.rope_theta)
        if scaling is None:
            raise self._unsupported(_FREQUENCIES, divisors.tolist(), "the factors of Llama 3")
        return ModelShape.from_dict({**sizes, "rope_scaling": scaling})


def llama3_scaling(divisors_E: torch.Tensor, theta: float) -> dict[str, Any] | None:
    """The values of the `RopeScaling` that divides the frequencies of a head so; None if there is none."""
    frequencies_E = theta ** -(torch.arange(len(divisors_E), dtype=torch.float64) / len(divisors_E))
    factor = float(divisors_E.max())
    blended_E = (divisors_E > 1.001) & (divisors_E < factor * 0.999)
    if factor <= 1.0 or not bool(blended_E.any()):
        return None
    # frequency / divisor = frequency * (share / factor + 1 - share), with a share that falls with the frequency
    keep_E = (1 / divisors_E - 1 / factor) / (1 - 1 / factor)
    waves_E = _LOW + keep_E * (_HIGH - _LOW)
    context = round(float((waves_E * 2 * math.pi / frequencies_E)[blended_E].median()))
    values = {
        "kind": "llama3", "factor": factor, "original_context": context, "low": _LOW, "high": _HIGH,
        "attention_factor": 1.0,
    }  # fmt: skip
    scaled = torch.tensor(RopeScaling.from_dict(values).scaled(frequencies_E.tolist(), theta), dtype=torch.float64)
    return values if torch.allclose(frequencies_E / scaled, divisors_E, rtol=1e-4, atol=0.0) else None
