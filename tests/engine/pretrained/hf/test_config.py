"""What a `config.json` may say, what missing keys mean, and which values are refused by name."""

from typing import Any

import pytest

from nima_cli.engine.pretrained.hf.config import LAYOUTS, read_config
from nima_cli.errors import CheckpointError

CONFIG: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


def config(layout: str = "llama", **changes: Any) -> dict[str, Any]:
    """A config of a layout; the value `...` takes a key away."""
    values = {"model_type": layout, **CONFIG, **changes}
    return {key: value for key, value in values.items() if value is not ...}


def refused(content: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_config(content, "config.json")
    assert len(caught.value.message.splitlines()) == 1
    assert len(caught.value.message) < 400
    return caught.value.message.removeprefix("config.json: ")


def test_missing_keys_mean_what_they_mean_in_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    for layout, name in LAYOUTS.items():
        optional = ("rms_norm_eps", *(["num_key_value_heads"] if layout == "llama" else []))
        content = config(layout, **dict.fromkeys(optional, ...))
        theirs = getattr(transformers, f"{name}Config")(
            **{key: value for key, value in content.items() if key != "model_type"}, **_no_window(layout)
        )
        _, shape = read_config({**content, **_no_window(layout)}, "config.json")
        head_dim = getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads
        assert (shape.n_kv_heads, shape.head_dim) == (theirs.num_key_value_heads, head_dim)
        assert (shape.norm_epsilon, shape.tie_embeddings) == (theirs.rms_norm_eps, theirs.tie_word_embeddings)
        assert shape.rope_theta == theirs.rope_parameters["rope_theta"]
        assert (shape.qk_norm, shape.qkv_bias) == (layout == "qwen3", layout == "qwen2")


def _no_window(layout: str) -> dict[str, Any]:
    return {"sliding_window": None} if layout == "mistral" else {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is not an object"),
        ({}, "`model_type` is null; nima reads llama, mistral, qwen2, qwen3"),
        (config("gemma2"), '`model_type` is "gemma2"; nima reads'),
        (config("mixtral"), '`model_type` is "mixtral"'),
        (config(model_type=["llama"]), '`model_type` is ["llama"]'),
        (config(architectures=["LlamaForSequenceClassification"]), '`architectures` is ["LlamaForSequenceCl'),
        (config(hidden_act="gelu"), '`hidden_act` is "gelu"; nima reads "silu"'),
        (config(attention_bias=True), "`attention_bias` is true; nima reads false"),
        (config("qwen3", attention_bias=True), "`attention_bias` is true"),
        (config(mlp_bias=True), "`mlp_bias` is true"),
        (config(partial_rotary_factor=0.5), "`partial_rotary_factor` is 0.5"),
        (config(rope_parameters={"partial_rotary_factor": 0.5}), "`rope_parameters.partial_rotary_factor` is 0.5"),
        (config(quantization_config={"quant_method": "awq"}), '`quantization_config` is {"quant_method": "awq"}'),
        (config("mistral", max_position_embeddings=32768), "`sliding_window` is 4096; nima reads"),
        (config("mistral", sliding_window=64), "`sliding_window` is 64; nima reads null, or at least the context"),
        (config("qwen2", use_sliding_window=True, sliding_window=64, max_window_layers=2), "`use_sliding_window` is t"),
        (config("qwen3", layer_types=["full_attention", "sliding_attention"]), '`layer_types` is ["full_attention", '),
        (config(rope_scaling={"type": "dynamic", "factor": 2.0}), '`rope_scaling.rope_type` is "dynamic"'),
        (config(rope_scaling={"rope_type": "longrope", "factor": 2.0}), '`rope_scaling.rope_type` is "longrope"'),
        (config(rope_scaling={"rope_type": ["yarn"]}), '`rope_scaling.rope_type` is ["yarn"]'),
        (config(rope_parameters={"full_attention": {"rope_theta": 1e4}}), "`rope_parameters` is {"),
        (config(rope_scaling={"rope_type": "yarn", "factor": 4.0, "truncate": False}), "`rope_scaling.truncate` is fa"),
        (
            config(rope_parameters={"rope_type": "llama3", "factor": 2.0}),
            "`rope_parameters.low_freq_factor` is missing",
        ),
        (config(rope_scaling={"rope_type": "linear"}), "`rope_scaling.factor` is missing"),
        (config(rope_scaling={**LLAMA3, "low_freq_factor": 4.0}), "`low` is not below `high`"),
        (config(rope_scaling={"rope_type": "yarn", "factor": "4"}), "`rope_scaling` has values that do not fit"),
        (config(rope_scaling={"rope_type": "linear", "factor": 0}), "`rope_scaling.factor` is 0"),
        (config(rope_theta=float("inf")), "`rope_theta` is inf"),
        (config(rms_norm_eps=-1.0), "`norm_epsilon` is -1.0"),
        (config(hidden_size=...), "`hidden_size` is missing"),
        (config("qwen2", num_key_value_heads=...), "`num_key_value_heads` is missing"),
        (config(num_hidden_layers=True), "`num_hidden_layers` is true; nima reads a whole number above 0"),
        (config(num_attention_heads=0), "`num_attention_heads` is 0"),
        (config(num_hidden_layers=10**9), "`n_layers` is 1000000000, expected an int from 1 to 1024"),
        (config(vocab_size=10**4000), "`vocab_size` is 1000"),
        (config(num_key_value_heads=3), "`n_kv_heads` does not divide `n_heads`"),
        (config(hidden_size=65536, num_attention_heads=64, num_hidden_layers=1000), "parameters are beyond the"),
        (config(tie_word_embeddings="yes"), "`tie_embeddings` is 'yes'"),
        (config(head_dim=[[[]]]), "`head_dim` is [[[]]]"),
    ],
)
def test_what_nima_does_not_compute_is_refused_with_key_and_value(content: Any, message: str) -> None:
    assert message in refused(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "mistral", "sliding_window": 128},
        {"model_type": "mistral", "sliding_window": None, "attention_bias": True},  # which Mistral does not have
        {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 4},
        {"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 64, "max_window_layers": 2},
        {"layer_types": ["full_attention"] * 4},
        {"architectures": ["LlamaForCausalLM"], "quantization_config": None, "partial_rotary_factor": 1},
        {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    ],
)
def test_what_changes_nothing_is_read(changes: dict[str, Any]) -> None:
    _, shape = read_config(config(**changes), "config.json")
    assert shape.rope_scaling is None
    assert shape.context_length == 128
