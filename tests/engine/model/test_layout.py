"""Names and row orders of other programs, compared with those of the `gguf` package and with the rotation itself."""

from typing import Any

import pytest
import torch

from nima_cli.engine.model.gpt import Rotary, rotate
from nima_cli.engine.model.layout import architecture, gguf_name, hf_name, rope_layout
from tests.engine.small_models import small_shape

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"qk_norm": False, "tie_embeddings": False},
    "qwen2": {"qk_norm": False, "qkv_bias": True},
    "qwen3": {},
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_tensor_has_the_name_that_the_package_gives_it(name: str) -> None:
    gguf = pytest.importorskip("gguf")
    shape = small_shape(**SHAPES[name])
    assert architecture(shape) == name
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH[name.upper()], shape.n_layers)
    for tensor in shape.tensors():
        assert gguf_name(tensor) == theirs.get_name(hf_name(tensor), try_suffixes=(".weight", ".bias")), tensor


def test_rotating_neighbours_after_the_layout_change_is_rotating_halves_before() -> None:
    """For this architecture, llama.cpp rotates dimensions 2i and 2i+1 of a head as a pair."""
    shape = small_shape(qk_norm=False, n_kv_heads=2)
    weight = torch.randn(shape.n_kv_heads * shape.head_dim, shape.d_model, generator=torch.Generator().manual_seed(0))
    x_TC = torch.randn(5, shape.d_model, generator=torch.Generator().manual_seed(1))
    cos, sin = (part[:5] for part in Rotary.table(shape))
    halves_HTD = rotate((x_TC @ weight.T).view(5, shape.n_kv_heads, -1).transpose(0, 1), cos, sin)
    moved = rope_layout("layers.0.self_attn.k_proj.weight", weight, shape)
    pairs_HTD2 = (x_TC @ moved.T).view(5, shape.n_kv_heads, -1, 2).transpose(0, 1)
    first, second = pairs_HTD2.unbind(-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    torch.testing.assert_close(turned, halves_HTD)
    assert torch.equal(rope_layout("layers.0.self_attn.k_proj.weight", moved, shape, back=True), weight)
    assert rope_layout("layers.0.self_attn.v_proj.weight", weight, shape) is weight
    for name in ("qwen2", "qwen3"):
        assert rope_layout("layers.0.self_attn.q_proj.weight", weight, small_shape(**SHAPES[name])) is weight
