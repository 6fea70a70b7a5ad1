"""The decoder: causal, exact with a cache, equal to Hugging Face's own, and started as described."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from tests.engine.small_models import random_model, small_shape

VARIANTS = {
    "plain": {},
    "grouped": {"n_kv_heads": 2},
    "one group": {"n_kv_heads": 1},
    "untied": {"tie_embeddings": False},
    "llama": {"qk_norm": False, "n_kv_heads": 2},
}
variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


def some_ids(shape: ModelShape, batch: int, time: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, shape.vocab_size, (batch, time), generator=torch.Generator().manual_seed(seed))


def new_cache(model: GPT, batch: int) -> KVCache:
    shape, dtype = model.shape, model.compute_dtype
    return KVCache(shape, batch=batch, capacity=shape.context_length, device=torch.device("cpu"), dtype=dtype)


@variants
@torch.inference_mode()
def test_no_position_sees_its_future(changes: dict[str, Any]) -> None:
    model = random_model(small_shape(**changes))
    ids_BT = some_ids(model.shape, 2, 24)
    logits_BTV = model(ids_BT)
    for position in (1, 7, 23):
        changed_BT = ids_BT.clone()
        changed_BT[:, position] = (changed_BT[:, position] + 1) % model.shape.vocab_size
        other_BTV = model(changed_BT)
        assert torch.equal(other_BTV[:, :position], logits_BTV[:, :position])
        assert (other_BTV[:, position:] != logits_BTV[:, position:]).any(dim=-1).all(), "later positions see nothing"


@variants
@torch.inference_mode()
def test_rows_do_not_see_each_other(changes: dict[str, Any]) -> None:
    model = random_model(small_shape(**changes))
    ids_BT = some_ids(model.shape, 3, 16)
    alone_BTV = torch.cat([model(ids_BT[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(model(ids_BT), alone_BTV, rtol=0, atol=1e-5)


@variants
@pytest.mark.parametrize("parts", [[1] * 20, [12, *[1] * 8], [7, 9, 1, 1, 1, 1], [20]], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.15)], ids=["fp32", "bf16"])
@torch.inference_mode()
def test_with_and_without_the_cache_the_logits_agree(
    changes: dict[str, Any], parts: list[int], dtype: torch.dtype, tolerance: float
) -> None:
    model = random_model(small_shape(**changes), compute_dtype=dtype)
    ids_BT = some_ids(model.shape, 3, 20)
    whole_BTV = model(ids_BT)
    cache = new_cache(model, 3)
    pieces = [model(piece_BT, cache) for piece_BT in torch.split(ids_BT, parts, dim=1)]
    assert cache.length == 20
    assert whole_BTV.dtype is torch.float32
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole_BTV, rtol=0, atol=tolerance)


@torch.inference_mode()
def test_a_truncated_cache_goes_on_from_there() -> None:
    model = random_model(small_shape(n_kv_heads=2))
    ids_BT = some_ids(model.shape, 1, 20)
    cache = new_cache(model, 1)
    model(some_ids(model.shape, 1, 24, seed=1).index_copy(1, torch.arange(9), ids_BT[:, :9]), cache)
    cache.truncate(9)
    torch.testing.assert_close(model(ids_BT[:, 9:], cache), model(ids_BT)[:, 9:], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_last_position_alone_is_the_last_of_all() -> None:
    model = random_model(small_shape())
    ids_BT = some_ids(model.shape, 2, 10)
    torch.testing.assert_close(model(ids_BT, last_only=True), model(ids_BT)[:, -1:], rtol=0, atol=1e-6)


def hugging_face(model: GPT) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same weights in Hugging Face's implementation, loaded strictly by name."""
    transformers = pytest.importorskip("transformers")
    shape = model.shape
    kind = "Qwen3" if shape.qk_norm else "Llama"
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=shape.vocab_size,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_ff,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context_length,
        rms_norm_eps=1e-6,
        rope_theta=shape.rope_theta,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_embeddings,
        attention_bias=False,
        attn_implementation="eager",
    )
    other = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    own = model.state_dict()
    tensors = {name if name == "lm_head.weight" else f"model.{name}": tensor for name, tensor in own.items()}
    if shape.tie_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    other.load_state_dict(tensors, strict=True)
    return lambda ids_BT: other(input_ids=ids_BT).logits


@variants
@pytest.mark.parametrize("rope_theta", [10000.0, 50000.0])
@torch.inference_mode()
def test_hugging_face_computes_the_same_logits(changes: dict[str, Any], rope_theta: float) -> None:
    model = random_model(small_shape(**changes, rope_theta=rope_theta))
    ids_BT = some_ids(model.shape, 2, 24)
    torch.testing.assert_close(model(ids_BT), hugging_face(model)(ids_BT), rtol=0, atol=1e-4)


def initial_weights(seed: int, **changes: Any) -> GPT:
    model = GPT(small_shape(**changes))
    model.init_weights(seed)
    return model


def test_the_start_is_a_function_of_the_seed_alone() -> None:
    first = initial_weights(3).state_dict()
    torch.manual_seed(99)
    again, other = initial_weights(3).state_dict(), initial_weights(4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed_tokens.weight"], other["embed_tokens.weight"])
    assert not torch.equal(first["layers.0.mlp.up_proj.weight"], other["layers.0.mlp.up_proj.weight"])
    assert not torch.equal(first["layers.0.mlp.up_proj.weight"], first["layers.1.mlp.up_proj.weight"])


def test_the_start_is_as_described() -> None:
    model = initial_weights(0, vocab_size=2000, d_model=64, d_ff=256, tie_embeddings=False)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            assert not parameter.any(), name
        elif parameter.ndim == 1:
            assert (parameter == 1).all(), name
        elif name in ("embed_tokens.weight", "lm_head.weight"):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.02), name
        else:
            assert parameter.std().item() == pytest.approx(parameter.shape[1] ** -0.5, rel=0.05), name
            assert parameter.abs().max().item() <= (3 / parameter.shape[1]) ** 0.5


@torch.inference_mode()
def test_at_the_start_every_block_is_the_identity() -> None:
    model = initial_weights(0)
    ids_BT = some_ids(model.shape, 2, 8)
    embedded_BTC = model.embed_tokens(ids_BT)
    assert torch.equal(model.hidden(ids_BT), model.norm(embedded_BTC))
    cos_TE, sin_TE = model.rotary.slice(0, 8, torch.float32)
    assert torch.equal(model.layers[0](embedded_BTC, cos_TE, sin_TE, None, 0), embedded_BTC)


def test_dropout_acts_in_training_only() -> None:
    model = random_model(small_shape(), dropout=0.3)
    ids_BT = some_ids(model.shape, 1, 8)
    assert torch.equal(model(ids_BT), random_model(small_shape())(ids_BT))
    model.train()
    torch.manual_seed(0)
    first = model(ids_BT)
    assert not torch.equal(first, model(ids_BT))
    torch.manual_seed(0)
    assert torch.equal(first, model(ids_BT))


def test_every_parameter_learns() -> None:
    model = random_model(small_shape(tie_embeddings=False)).train()
    model(some_ids(model.shape, 2, 8)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_sixteen_bit_computes_over_float32_weights() -> None:
    model = random_model(small_shape(), compute_dtype=torch.bfloat16)
    ids_BT = some_ids(model.shape, 2, 16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.hidden(ids_BT).dtype is torch.bfloat16
    exact = random_model(small_shape())(ids_BT)
    torch.testing.assert_close(model(ids_BT), exact, rtol=0, atol=0.2)


def test_tied_weights_are_one_parameter() -> None:
    tied, untied = random_model(small_shape()), random_model(small_shape(tie_embeddings=False))
    assert tied.head_weight_VC is tied.embed_tokens.weight
    assert "lm_head.weight" not in tied.state_dict()
    assert isinstance(untied.lm_head, nn.Module)
    assert untied.head_weight_VC is untied.lm_head.weight


def test_a_model_built_without_memory_needs_only_its_weights() -> None:
    model = random_model(small_shape())
    with torch.device("meta"):
        empty = GPT(model.shape)
    empty.load_state_dict(model.state_dict(), assign=True)
    ids_BT = some_ids(model.shape, 1, 8)
    assert torch.equal(empty.eval()(ids_BT), model(ids_BT))
