"""Reads the shape of a model out of the `config.json` of Hugging Face transformers.

A missing key means what transformers takes it to mean; a value that nima does not compute is refused.
"""

import math
from typing import Any

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.pretrained.strict import show
from nima_cli.errors import CheckpointError

Values = dict[str, Any]

# The name of the class of each layout, by `model_type`.
LAYOUTS = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
_SIZES = {
    "vocab_size": "vocab_size", "num_hidden_layers": "n_layers", "hidden_size": "d_model",
    "num_attention_heads": "n_heads", "intermediate_size": "d_ff", "max_position_embeddings": "context_length",
}  # fmt: skip
_QWEN3_HEAD_DIM, _MISTRAL_WINDOW, _ROPE_THETA = 128, 4096, 10000.0
# What each key must be if it is there, beside null. Mistral and Qwen2 ignore the keys of biases.
_ONLY = {"hidden_act": "silu", "partial_rotary_factor": 1.0, "quantization_config": None, "compression_config": None}
_NO_BIASES = {"attention_bias": False, "mlp_bias": False}


def read_config(config: Any, where: str) -> tuple[str, ModelShape]:
    """The layout (a `model_type`) and the shape that a parsed `config.json` describes; `where` names it in messages.

    Raises:
        CheckpointError: a key is missing or impossible, or has a value that nima does not compute.
    """
    if not isinstance(config, dict):
        raise CheckpointError(f"{where}: is not an object")
    layout = config.get("model_type")
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise _unsupported(where, "model_type", layout, ", ".join(LAYOUTS))
    _check_supported(config, layout, where)
    sizes = {ours: _size(config, theirs, where) for theirs, ours in _SIZES.items()}
    theta, scaling = _rope(config, sizes["context_length"], where)
    try:
        return layout, ModelShape.from_dict(
            {
                **sizes,
                "n_kv_heads": _kv_heads(config, layout, where),
                "head_dim": _head_dim(config, layout, where),
                "qk_norm": layout == "qwen3",
                "qkv_bias": layout == "qwen2",
                "tie_embeddings": config.get("tie_word_embeddings", False),
                "norm_epsilon": config.get("rms_norm_eps", 1e-6),
                "rope_theta": theta,
                "rope_scaling": scaling,
            }
        )
    except ValueError as error:
        raise CheckpointError(f"{where}: {shown(str(error), 200)}") from error


def _unsupported(where: str, key: str, value: object, expected: str) -> CheckpointError:
    return CheckpointError(f"{where}: `{key}` is {show(value)}; nima reads {expected}")


def _check_supported(config: Values, layout: str, where: str) -> None:
    for key, only in (_ONLY | (_NO_BIASES if layout in ("llama", "qwen3") else {})).items():
        value = config.get(key)
        if value is not None and value != only:
            expected = show(only) if only is not None else "models as they were before they were quantised"
            raise _unsupported(where, key, value, expected)
    classes = config.get("architectures")
    if classes is not None and classes != [f"{LAYOUTS[layout]}ForCausalLM"]:
        raise _unsupported(where, "architectures", classes, f"{LAYOUTS[layout]}ForCausalLM")
    _check_windows(config, layout, where)


def _check_windows(config: Values, layout: str, where: str) -> None:
    """Refuse a model some layers of which do not look back on the whole context."""
    types = config.get("layer_types")
    if types is not None and (not isinstance(types, list) or any(one != "full_attention" for one in types)):
        raise _unsupported(where, "layer_types", types, "full_attention in every layer")
    window, context = config.get("sliding_window", _MISTRAL_WINDOW), _size(config, "max_position_embeddings", where)
    if layout == "llama" or window is None or (isinstance(window, int | float) and window >= context):
        return
    if layout == "mistral":
        raise _unsupported(where, "sliding_window", window, f"null, or at least the context of {context} tokens")
    first = _size({"max_window_layers": 28, **config}, "max_window_layers", where)
    if config.get("use_sliding_window", False) and types is None and first < _size(config, "num_hidden_layers", where):
        raise _unsupported(where, "use_sliding_window", True, "false")


def _size(config: Values, key: str, where: str) -> int:
    if key not in config:
        raise CheckpointError(f"{where}: `{key}` is missing")
    value = config[key]
    if type(value) is not int or not 0 < value < 2**31:
        raise _unsupported(where, key, value, "a whole number above 0")
    return value


def _kv_heads(config: Values, layout: str, where: str) -> int:
    if config.get("num_key_value_heads") is None and (layout == "llama" or "num_key_value_heads" in config):
        return _size(config, "num_attention_heads", where)
    return _size(config, "num_key_value_heads", where)


def _head_dim(config: Values, layout: str, where: str) -> int:
    if config.get("head_dim") is not None:
        return _size(config, "head_dim", where)
    if layout == "qwen3":
        return _QWEN3_HEAD_DIM
    return _size(config, "hidden_size", where) // _size(config, "num_attention_heads", where)


def _rope(config: Values, context: int, where: str) -> tuple[Any, Values | None]:
    """Theta, and the values of a `RopeScaling`, from `rope_scaling`, or its newer name `rope_parameters`."""
    key = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    values = config.get(key) or {}
    if not isinstance(values, dict) or any(isinstance(value, dict) for value in values.values()):
        raise _unsupported(where, key, values, "the same rotary positions in every layer")
    for name, only in (("partial_rotary_factor", 1.0), ("truncate", True)):
        if values.get(name, only) != only:
            raise _unsupported(where, f"{key}.{name}", values[name], show(only))
    theta = values.get("rope_theta", config.get("rope_theta", _ROPE_THETA))
    kind = values.get("rope_type", values.get("type", "default"))
    readers = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}
    if kind == "default":
        return theta, None
    if not isinstance(kind, str) or kind not in readers:
        raise _unsupported(where, f"{key}.rope_type", kind, ", ".join(("default", *readers)))
    original = config.get("original_max_position_embeddings", values.get("original_max_position_embeddings", context))
    try:
        return theta, readers[kind](values, original, context)
    except KeyError as error:
        raise CheckpointError(f"{where}: `{key}.{error.args[0]}` is missing") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{where}: `{key}` has values that do not fit together: {show(values)}") from error


def _scaling(kind: str, **values: Any) -> Values:
    return {"kind": kind, "original_context": 1, "low": 1.0, "high": 1.0, "attention_factor": 1.0, **values}


def _linear(values: Values, original: Any, context: int) -> Values:
    return _scaling("linear", factor=values["factor"])


def _llama3(values: Values, original: Any, context: int) -> Values:
    low, high = values["low_freq_factor"], values["high_freq_factor"]
    return _scaling("llama3", factor=values["factor"], original_context=original, low=low, high=high)


def _yarn(values: Values, original: Any, context: int) -> Values:
    """If the attention factor is missing, it follows from the factor, or from the two scales of DeepSeek's models."""
    factor = values["factor"] if values.get("factor") is not None else context / original
    attention, mscale, of_all = (values.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if attention is None:
        attention = _sharpness(factor, mscale) / _sharpness(factor, of_all) if mscale and of_all else _sharpness(factor)
    return _scaling(
        "yarn", factor=factor, original_context=original, low=values.get("beta_slow") or 1,
        high=values.get("beta_fast") or 32, attention_factor=attention,
    )  # fmt: skip


def _sharpness(factor: float, scale: float = 1.0) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0
