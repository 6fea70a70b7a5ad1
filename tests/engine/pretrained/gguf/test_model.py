"""Keys of GGUF files that nima does not compute, and tensors that do not fit."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.pretrained.load import load_pretrained
from tests.engine.pretrained.others import (
    ODD_VALUES,
    ends_in_one_line,
    model_fields,
    model_tensors,
    random_model,
    refusal,
    save_gguf,
    tokenizer_fields,
    write_gguf,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model("llama", num_hidden_layers=1)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("general.architecture", "gemma3", '`general.architecture` is "gemma3"; nima reads llama, qwen2, qwen3'),
        ("general.type", "adapter", '`general.type` is "adapter"; nima reads "model"'),
        ("split.count", 3, "`split.count` is 3"),
        ("llama.expert_count", 8, "`llama.expert_count` is 8; nima reads 0"),
        ("llama.attention.sliding_window", 32, "`llama.attention.sliding_window` is 32; nima reads at least the con"),
        ("llama.attention.causal", False, "`llama.attention.causal` is false"),
        ("llama.logit_scale", 0.5, "`llama.logit_scale` is 0.5; nima reads 0.0 or 1.0"),
        ("llama.rope.scaling.type", "longrope", '`llama.rope.scaling.type` is "longrope"; nima reads none, linear, y'),
        ("llama.rope.scaling.yarn_log_multiplier", 0.1, "`llama.rope.scaling.yarn_log_multiplier` is 0.1"),
        ("llama.rope.scaling.yarn_attn_factor", 0.8, "`llama.rope.scaling.yarn_attn_factor` is 0.8"),
        ("llama.rope.scaling.attn_factor", 0.5, "`llama.rope.scaling.attn_factor` is 0.5; nima reads 1.0 beside yarn"),
        ("llama.rope.dimension_count", 8, "`llama.rope.dimension_count` is 8; nima reads the 16 of a head"),
        ("llama.attention.value_length", 8, "`llama.attention.value_length` is 8"),
        ("llama.attention.head_count_kv", [2, 2], "`llama.attention.head_count_kv` is [2, 2]; nima reads one num"),
        ("llama.attention.head_count", 0, "`llama.attention.head_count` is 0; nima reads whole numbers above 0"),
        ("llama.embedding_length", "64", '`llama.embedding_length` is "64"; nima reads one number for all layers'),
        ("llama.attention.sliding_window", "x", '`llama.attention.sliding_window` is "x"'),
        ("llama.rope.scaling.type", 5, "`llama.rope.scaling.type` is 5"),
        ("llama.attention.key_length", 16.5, "`llama.attention.value_length` is 16; nima reads the 16.5 of a head"),
        ("llama.block_count", 1.0, "`n_layers` is 1.0, expected an int"),
        ("llama.block_count", 1 << 31, "`n_layers` is 2147483648, expected an int from 1 to 1024"),
        ("llama.block_count", 2, "does not fit its own description: `blk.1.attn_norm.weight` is missing"),
        ("llama.attention.layer_norm_rms_epsilon", float("nan"), "`norm_epsilon` is nan"),
        ("llama.feed_forward_length", None, "`llama.feed_forward_length` is missing"),
        ("llama.feed_forward_length", 95, "`blk.0.ffn_gate.weight` is (96, 64), expected (95, 64)"),
    ],
)
def test_what_nima_does_not_compute_is_refused_with_key_and_value(
    key: str, value: Any, message: str, model: Any, tmp_path: Path
) -> None:
    fields = {**model_fields(model), **tokenizer_fields(), key: value}
    if value is None:
        del fields[key]
    assert message in refusal(write_gguf(tmp_path / "x.gguf", fields, model_tensors(model)))


def test_no_value_of_any_key_has_any_other_end_than_one_line(model: Any, tmp_path: Path) -> None:
    fields, tensors = model_fields(model) | tokenizer_fields(), model_tensors(model)
    keys = set(fields) - {"general.architecture"}
    scaling = ("type", "factor", "original_context_length", "yarn_beta_fast", "attn_factor")
    more = {"llama.attention.sliding_window", "llama.rope.scale_linear", "general.alignment"}
    # what the writer can write
    values = [one for one in ODD_VALUES if type(one) in (bool, float, str) or (type(one) is int and 0 <= one < 1 << 32)]
    values = [one for one in values if one != 1e308]
    refused = 0
    for key in {*keys, *more, *(f"llama.rope.scaling.{name}" for name in scaling)}:
        for value in [*values, [1, 2], ["x"], [0.5], float("nan"), float("inf")]:
            path = write_gguf(tmp_path / "x.gguf", {**fields, key: value}, tensors)
            refused += ends_in_one_line(path)
    assert refused > 200


def test_a_factor_without_a_type_means_linear(model: Any, tmp_path: Path) -> None:
    for name in ("scaling.factor", "scale_linear"):
        path = save_gguf(model, tmp_path / "x.gguf", more={f"llama.rope.{name}": 4.0})
        found = load_pretrained(path).shape.rope_scaling
        assert found is not None
        assert (found.kind, found.factor) == ("linear", 4.0)
    neutral = {"llama.rope.scaling.type": "none", "llama.attention.sliding_window": 64, "llama.expert_count": 0}
    assert load_pretrained(save_gguf(model, tmp_path / "x.gguf", more=neutral)).shape.rope_scaling is None


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"blk.0.attn_q.bias": torch.zeros(64)}, "`blk.0.attn_q.bias` is not part of such a model"),
        ({"rope_factors_long.weight": torch.ones(8)}, "`rope_factors_long.weight` is not part of such a model"),
        ({"rope_freqs.weight": torch.ones(7)}, "`rope_freqs.weight` is [7]; nima reads 8 numbers"),
        ({"rope_freqs.weight": torch.full((8,), float("inf"))}, "`rope_freqs.weight` holds values that are not finite"),
        ({"rope_freqs.weight": torch.zeros(8)}, "`rope_freqs.weight` is [0.0"),
        ({"output_norm.weight": torch.full((64,), float("nan"))}, "`output_norm.weight` holds values that are not fin"),
        ({"token_embd.weight": None}, "`vocab_size` is 0"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors: dict[str, Any], message: str, model: Any, tmp_path: Path) -> None:
    content = {name: one for name, one in (model_tensors(model) | tensors).items() if one is not None}
    path = write_gguf(tmp_path / "x.gguf", model_fields(model) | tokenizer_fields(), content)
    assert message in refusal(path)


def test_yarn_is_read_with_its_numbers(model: Any, tmp_path: Path) -> None:
    numbers = {
        "type": "yarn", "factor": 4.0, "original_context_length": 16, "yarn_beta_slow": 2.0, "yarn_beta_fast": 16.0,
        "attn_factor": 0.5,
    }  # fmt: skip
    more = {f"llama.rope.scaling.{name}": value for name, value in numbers.items()}
    found = load_pretrained(save_gguf(model, tmp_path / "x.gguf", more=more)).shape.rope_scaling
    assert found is not None
    assert (found.kind, found.factor, found.original_context, found.low, found.high) == ("yarn", 4.0, 16, 2.0, 16.0)
    assert found.attention_factor == pytest.approx(0.5 * (1 + 0.1 * math.log(4.0)))


def test_a_link_to_a_file_is_followed(model: Any, tmp_path: Path) -> None:
    save_gguf(model, tmp_path / "x.gguf")
    (tmp_path / "link.gguf").symlink_to(tmp_path / "x.gguf")
    assert load_pretrained(tmp_path / "link.gguf").header["pretrained"] == "link"
