"""Sizes of a model are arithmetic: equal to the real one's, and refused before anything is allocated."""

import tracemalloc
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.config.schema import PRESET_VOCAB_SIZES, PRESETS, ModelConfig, PresetName
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.errors import ConfigError
from tests.engine.small_models import SMALL, small_shape

STATED = {"gpt-tiny": 4.6e6, "gpt-small": 90e6, "gpt-medium": 350e6}


def preset_shape(name: PresetName) -> ModelShape:
    return resolve(ModelConfig.model_validate({"preset": name, **PRESETS[name]["model"]}), PRESET_VOCAB_SIZES[name])


@pytest.mark.parametrize("name", ["gpt-tiny", "gpt-small", "gpt-medium"])
def test_presets_have_their_stated_size(name: PresetName) -> None:
    shape = preset_shape(name)
    with torch.device("meta"):
        model = GPT(shape)
    assert abs(shape.parameters() / STATED[name] - 1) <= 0.03
    assert shape.parameters() == sum(parameter.numel() for parameter in model.parameters())


def test_presets_have_their_stated_depth_width_and_context() -> None:
    found = [(s.n_layers, s.d_model, s.context_length) for s in map(preset_shape, PRESETS)]  # type: ignore[arg-type]
    assert found == [(4, 256, 512), (12, 768, 1024), (24, 1024, 1024)]


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    groups, per_group, half = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 8))
    heads = groups * per_group
    return ModelShape(
        vocab_size=draw(st.integers(1, 300)),
        n_layers=draw(st.integers(1, 4)),
        d_model=heads * half * 2,
        n_heads=heads,
        n_kv_heads=groups,
        head_dim=half * 2,
        d_ff=draw(st.integers(1, 100)),
        context_length=draw(st.integers(1, 64)),
        qk_norm=draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
        rope_theta=draw(st.floats(2.0, 1e6)),
    )


@settings(max_examples=60)
@given(shapes())
def test_arithmetic_agrees_with_the_real_model(shape: ModelShape) -> None:
    with torch.device("meta"):
        model = GPT(shape)
    real = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert list(shape.tensors().items()) == list(real.items())
    assert shape.parameters() == sum(parameter.numel() for parameter in model.parameters())
    assert ModelShape.from_dict(shape.to_dict()) == shape


def test_flops_count_every_matrix_and_the_attention() -> None:
    """6 for each weight that is multiplied, and 12 L d T for the scores; gains and a mere lookup cost nothing."""
    shape = small_shape()
    matrices = sum(rows[0] * rows[1] for rows in shape.tensors().values() if len(rows) == 2)
    assert shape.flops_per_token() == 6 * matrices + 12 * 2 * 32 * 24
    untied = small_shape(tie_embeddings=False)
    assert untied.flops_per_token() == shape.flops_per_token()


HOSTILE: list[dict[str, Any]] = [
    {"n_layers": 10**9},
    {"vocab_size": 2**31},
    {"d_model": 10**30},
    {"context_length": 2**40},
    {"d_ff": 2**40},
    {"n_layers": 0},
    {"n_layers": -1},
    {"n_layers": True},
    {"n_layers": 2.0},
    {"n_layers": "2"},
    {"n_layers": None},
    {"vocab_size": float("nan")},
    {"qk_norm": 1},
    {"tie_embeddings": "yes"},
    {"rope_theta": float("nan")},
    {"rope_theta": float("inf")},
    {"rope_theta": True},
    {"rope_theta": 1.0},
    {"d_model": 33},
    {"n_heads": 5},
    {"n_heads": 32},
    {"n_kv_heads": 3},
    {"n_kv_heads": 8},
    {"extra": 1},
    # Each within its own limit, together beyond any model that is trained here.
    {"n_layers": 1024, "d_model": 1 << 16, "n_heads": 1024, "n_kv_heads": 1024, "d_ff": 1 << 18},
]


@pytest.mark.parametrize("changes", HOSTILE, ids=repr)
def test_a_hostile_shape_is_refused_without_allocating(changes: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"."):
            ModelShape.from_dict({**SMALL, **changes})
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("values", [None, [], "shape", 3, {}, {key: SMALL[key] for key in SMALL if key != "d_ff"}])
def test_other_values_are_no_shape(values: Any) -> None:
    with pytest.raises(ValueError, match="14 keys"):
        ModelShape.from_dict(values)


def test_resolve_fills_what_is_left_open() -> None:
    shape = resolve(ModelConfig(preset=None, n_layers=1, d_model=96, n_heads=3), 300)
    assert (shape.n_kv_heads, shape.d_ff, shape.context_length, shape.head_dim) == (3, 256, 512, 32)


def test_resolve_refuses_what_no_machine_trains() -> None:
    huge = ModelConfig(preset=None, n_layers=256, d_model=16384, n_heads=128)
    with pytest.raises(ConfigError, match="more than nima trains"):
        resolve(huge, 65536)
    with pytest.raises(ConfigError, match="`n_layers`, `d_model` and `n_heads` must be given"):
        resolve(ModelConfig(), 300)
