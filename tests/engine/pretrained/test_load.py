"""Models of every layout as transformers computes them, from folders and GGUF files, and what can be said of them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint, build_model
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.pretrained.load import inspect, is_pretrained, load_pretrained
from tests.engine.export.conftest import export
from tests.engine.pretrained.others import (
    VOCABULARY,
    change_json,
    gguf_order,
    model_fields,
    model_tensors,
    random_model,
    refusal,
    save_folder,
    save_gguf,
    tokenizer_fields,
    tokens,
    write_gguf,
    write_tokenizer,
)

THETA = {"rope_theta": 5000.0}
ROPES: dict[str, dict[str, Any]] = {
    "theta": {"rope_type": "default", **THETA},
    "linear": {"rope_type": "linear", "factor": 3.0, **THETA},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32, **THETA,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, **THETA},
    "yarn with its numbers": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 0.5,
        "beta_slow": 0.1, "attention_factor": 0.9, "rope_theta": 50.0,
    },
    "yarn with two scales": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7,
        "mscale_all_dim": 1.3, **THETA,
    },
}  # fmt: skip
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, not tied, one head in a group": ("llama", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
    "llama, head_dim apart": ("llama", {"head_dim": 24}),
    "mistral": ("mistral", {}),
    "mistral, a window that holds the context": ("mistral", {"sliding_window": 64}),
    "qwen2": ("qwen2", {}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {}),
    "qwen3, not tied": ("qwen3", {"tie_word_embeddings": False}),
    **{f"llama, {name}": ("llama", {"rope_parameters": rope}) for name, rope in ROPES.items()},
    "qwen3, yarn": ("qwen3", {"rope_parameters": ROPES["yarn"]}),
}
IDS_BT = torch.randint(0, VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def assert_same_logits(found: Checkpoint, model: Any) -> None:
    torch.testing.assert_close(build_model(found)(IDS_BT), model(input_ids=IDS_BT).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_folder_computes_what_it_computes_in_transformers(variant: str, tmp_path: Path) -> None:
    layout, config = VARIANTS[variant]
    model = random_model(layout, **config)
    found = load_pretrained(save_folder(model, tmp_path / "theirs"))
    assert_same_logits(found, model)
    assert found.header == {"pretrained": "theirs", "layout": layout, "licence": None}
    assert found.shape.tie_embeddings == model.config.tie_word_embeddings
    assert found.optimizer is None


@pytest.mark.parametrize("rope", ROPES)
def test_the_older_names_of_rotary_settings_mean_the_same(rope: str, tmp_path: Path) -> None:
    model = random_model("llama", rope_parameters=ROPES[rope])
    folder = save_folder(model, tmp_path / "theirs")
    older = {("type" if key == "rope_type" else key): value for key, value in ROPES[rope].items()}
    change_json(folder / "config.json", rope_parameters=..., rope_theta=older.pop("rope_theta"), rope_scaling=older)
    assert_same_logits(load_pretrained(folder), model)


def test_a_sharded_folder_is_read_from_all_its_files(tmp_path: Path) -> None:
    model = random_model("qwen2")
    folder = save_folder(model, tmp_path / "theirs", max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert_same_logits(load_pretrained(folder), model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_what_it_is(dtype: torch.dtype, tmp_path: Path) -> None:
    model = random_model("llama").to(dtype)
    found = load_pretrained(save_folder(model, tmp_path / "theirs"))
    for name, tensor in found.model.items():
        assert tensor.dtype is dtype
        assert torch.equal(tensor, model.state_dict()[f"model.{name}"]), name


def test_a_copy_of_a_tied_head_is_left_out_and_another_head_is_refused(tmp_path: Path) -> None:
    model = random_model("llama", tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    folder = save_folder(model, tmp_path / "theirs")
    change_json(folder / "config.json", tie_word_embeddings=True)
    found = load_pretrained(folder)
    assert "lm_head.weight" not in found.model
    assert_same_logits(found, model)
    other = save_folder(random_model("llama", tie_word_embeddings=False), tmp_path / "other")
    change_json(other / "config.json", tie_word_embeddings=True)
    assert "`lm_head.weight` is not the embedding" in refusal(other)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "llama3" not in name and "with" not in name])
def test_a_gguf_file_computes_what_its_model_computes_in_transformers(variant: str, tmp_path: Path) -> None:
    layout, config = VARIANTS[variant]
    model = random_model(layout, **config)
    arch = "llama" if layout == "mistral" else layout
    rope = config.get("rope_parameters", {})
    keys = {"rope_type": "type", "factor": "factor", "original_max_position_embeddings": "original_context_length"}
    scaling = {f"{arch}.rope.scaling.{ours}": rope[theirs] for theirs, ours in keys.items() if theirs in rope}
    if scaling.get(f"{arch}.rope.scaling.type") == "default":
        scaling = {}
    found = load_pretrained(save_gguf(model, tmp_path / "theirs.gguf", more=scaling), name="mine")
    assert_same_logits(found, model)
    assert found.header == {"pretrained": "mine", "layout": arch, "licence": "mit"}


def test_llama_3_s_scaling_is_found_again_in_what_a_gguf_file_divides_by(tmp_path: Path) -> None:
    model = random_model("llama", rope_parameters=ROPES["llama3"], head_dim=32)
    plain = 5000.0 ** -(torch.arange(0, 32, 2) / 32)
    divisors = plain / model.model.rotary_emb.inv_freq
    assert len(divisors.unique()) > 4
    tensors = model_tensors(model) | {"rope_freqs.weight": divisors}
    fields = model_fields(model) | tokenizer_fields()
    found = load_pretrained(write_gguf(tmp_path / "theirs.gguf", fields, tensors))
    assert_same_logits(found, model)
    scaling = found.shape.rope_scaling
    assert scaling is not None
    assert (scaling.kind, scaling.original_context, scaling.low, scaling.high) == ("llama3", 32, 1.0, 4.0)
    assert scaling.factor == pytest.approx(8.0, rel=1e-6)
    tensors["rope_freqs.weight"] = torch.ones(16)
    assert load_pretrained(write_gguf(tmp_path / "ones.gguf", fields, tensors)).shape.rope_scaling is None
    tensors["rope_freqs.weight"] = torch.linspace(1.0, 8.0, 16)
    assert "`rope_freqs.weight` is [1.0" in refusal(write_gguf(tmp_path / "other.gguf", fields, tensors))


def dequantized(tensor: Any) -> torch.Tensor:
    gguf = pytest.importorskip("gguf")
    return torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_the_weights_of_a_gguf_file_are_those_that_its_package_reads(kind: str, tmp_path: Path) -> None:
    path = save_gguf(random_model("qwen2"), tmp_path / "theirs.gguf", matrices=kind)
    theirs = {tensor.name: tensor for tensor in pytest.importorskip("gguf").GGUFReader(path).tensors}
    found = load_pretrained(path).model
    pairs = {"layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight", "embed_tokens.weight": "token_embd.weight"}
    for ours, name in pairs.items():
        assert torch.equal(found[ours].float(), dequantized(theirs[name]).view(found[ours].shape))
        assert found[ours].dtype is {"F16": torch.float16, "BF16": torch.bfloat16}.get(kind, torch.float32)
    assert found["norm.weight"].dtype is torch.float32


@pytest.mark.parametrize("layout", ["qwen3", "llama"])
@pytest.mark.parametrize("kind", ["hf", "gguf"])
def test_what_nima_exports_is_read_back(layout: str, kind: str, saved: Any, tmp_path: Path) -> None:
    path, checkpoint = saved(layout)
    output = tmp_path / ("mine.gguf" if kind == "gguf" else "mine")
    export(path, output, kind)
    found = load_pretrained(output)
    assert found.header["layout"] == layout
    assert {**found.shape.to_dict(), "rope_theta": 0, "norm_epsilon": 0} == {
        **checkpoint.shape.to_dict(), "rope_theta": 0, "norm_epsilon": 0,
    }  # fmt: skip
    assert found.shape.rope_theta == pytest.approx(checkpoint.shape.rope_theta)
    assert found.shape.norm_epsilon == pytest.approx(checkpoint.shape.norm_epsilon)
    assert set(found.model) == set(checkpoint.model)
    assert all(torch.equal(found.model[name], tensor) for name, tensor in checkpoint.model.items())


def test_the_tokenizer_is_a_bundle_of_its_files(tmp_path: Path) -> None:
    folder = save_folder(random_model("llama"), tmp_path / "theirs")
    proto = load_pretrained(folder).tokenizer_proto
    assert proto.startswith(b"{")
    content = json.loads(proto)
    assert content["nima_tokenizer"] == "hf"
    names = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")
    assert content["files"] == {name: (folder / name).read_text("utf-8") for name in names}


def test_a_tokenizer_larger_than_the_embedding_is_refused_with_both_sizes(tmp_path: Path) -> None:
    folder = save_folder(random_model("llama"), tmp_path / "theirs")
    write_tokenizer(folder, size=VOCABULARY)
    assert load_pretrained(folder).shape.vocab_size == VOCABULARY
    write_tokenizer(folder, size=VOCABULARY + 1)
    assert refusal(folder) == ": its tokenizer has 281 tokens, its embedding only 280 rows"


def test_inspecting_tells_what_is_there(tmp_path: Path) -> None:
    model = random_model("qwen2")
    folder = save_folder(model.to(torch.bfloat16), tmp_path / "theirs")
    facts = inspect(folder)
    assert (facts.format, facts.layout, facts.licence) == ("hf", "qwen2", None)
    assert facts.shape == load_pretrained(folder).shape
    assert facts.stored_types == {"BF16": facts.shape.parameters()}
    assert facts.file_bytes == (folder / "model.safetensors").stat().st_size
    assert facts.memory_bytes > 2 * facts.shape.parameters()
    assert (facts.tokenizer.kind, facts.tokenizer.size, facts.tokenizer.chat_template) == ("hf", len(tokens()), True)
    facts = inspect(save_gguf(model.float(), tmp_path / "theirs.gguf", matrices="Q8_0"))
    assert (facts.format, facts.layout, facts.licence) == ("gguf", "qwen2", "mit")
    assert list(facts.stored_types) == ["Q8_0", "F32"]
    assert sum(facts.stored_types.values()) == facts.shape.parameters()
    assert (facts.tokenizer.size, facts.tokenizer.chat_template) == (len(tokens()), True)


def test_what_may_be_a_model_of_others_is_recognised(tmp_path: Path) -> None:
    for name in ("config.json", "pytorch_model.bin", "adapter_config.json"):
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        assert not is_pretrained(folder)
        (folder / name).write_text("{}", encoding="utf-8")
        assert is_pretrained(folder)
    for name, content in (("a.gguf", b""), ("b", b"GGUF")):
        (tmp_path / name).write_bytes(content)
        assert is_pretrained(tmp_path / name)
    (tmp_path / "c.pt").write_bytes(b"PK")
    assert not is_pretrained(tmp_path / "c.pt")
    assert not is_pretrained(tmp_path / "nowhere")


REAL = os.environ.get("NIMA_TEST_SMOLLM2")


@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="NIMA_TEST_SMOLLM2 names no SmolLM2-135M-Instruct.Q4_1.gguf")
@torch.inference_mode()
def test_a_real_model_computes_what_it_computes_in_transformers() -> None:
    found = load_pretrained(Path(str(REAL)))
    assert found.shape == ModelShape(
        vocab_size=49152, n_layers=30, d_model=576, n_heads=9, n_kv_heads=3, head_dim=64, d_ff=1536,
        context_length=8192, qk_norm=False, tie_embeddings=True, rope_theta=100000.0,
        norm_epsilon=found.shape.norm_epsilon,
    )  # fmt: skip
    model = random_model(
        "llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )  # fmt: skip
    assert model.config.rms_norm_eps == pytest.approx(found.shape.norm_epsilon)
    theirs = {tensor.name: tensor for tensor in pytest.importorskip("gguf").GGUFReader(REAL).tensors}
    for name, other, rows in gguf_order(model):
        values = dequantized(theirs[other])
        model.state_dict()[name][rows] = values.view(model.state_dict()[name].shape)
    assert_same_logits(found, model)
