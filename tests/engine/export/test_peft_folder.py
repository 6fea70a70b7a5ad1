"""Adapters alone, as PEFT puts them beside the weights that were tuned."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint, build_model, save
from nima_cli.engine.model.layout import hf_name
from nima_cli.engine.model.lora import Lora
from nima_cli.errors import CheckpointError
from tests.engine.export.conftest import EMPTY_ROWS, export

safetensors = pytest.importorskip("safetensors.torch")

Tuned = Callable[..., tuple[Path, Checkpoint]]
LORA = Lora(rank=3, alpha=7.0, targets=("q_proj", "v_proj", "down_proj"))


@pytest.fixture
def adapted(tuned: Tuned, tmp_path: Path) -> Callable[..., tuple[Path, Checkpoint]]:
    """A checkpoint of a LoRA run over weights in bfloat16, with averaged adapters that predict better or do not."""

    def make(name: str = "llama", *, averaged: bool = False) -> tuple[Path, Checkpoint]:
        _, checkpoint = tuned(name)
        generator = torch.Generator().manual_seed(3)
        sizes = LORA.tensors(checkpoint.shape)
        adapters, ema = (
            {key: torch.randn(size, generator=generator) / 4 for key, size in sizes.items()} for _ in range(2)
        )
        lora = {"rank": LORA.rank, "alpha": LORA.alpha, "targets": list(LORA.targets), "dropout": 0.05}
        checkpoint.model = {
            key: tensor.bfloat16() if tensor.ndim > 1 else tensor for key, tensor in checkpoint.model.items()
        }
        checkpoint.header |= {"lora": lora, "inference_weights": "ema" if averaged else "model"}
        checkpoint.adapters, checkpoint.ema, checkpoint.optimizer = adapters, ema, None
        save(tmp_path / "lora.pt", checkpoint)
        return tmp_path / "lora.pt", checkpoint

    return make


@pytest.mark.parametrize("averaged", [False, True])
def test_the_files_are_those_of_peft(averaged: bool, adapted: Tuned, tmp_path: Path) -> None:
    path, checkpoint = adapted(averaged=averaged)
    exported = export(path, tmp_path / "out", "peft")
    assert [file.name for file in exported.files] == ["adapter_config.json", "adapter_model.safetensors", "README.md"]
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "Maker/tiny-1"
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (3, 7.0, sorted(LORA.targets))
    assert config["lora_dropout"] == 0.05
    found = safetensors.load_file(tmp_path / "out" / "adapter_model.safetensors")
    chosen = checkpoint.ema if averaged else checkpoint.adapters
    assert chosen is not None
    assert len(found) == len(chosen)
    for name, tensor in chosen.items():
        assert torch.equal(found[f"base_model.model.{hf_name(name)}.weight"], tensor)
    assert exported.parameters == sum(tensor.numel() for tensor in chosen.values())


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # what PEFT asks of transformers
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_peft_computes_what_nima_does(name: str, adapted: Tuned, tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    path, checkpoint = adapted(name)
    exported = export(path, tmp_path / "out", "peft")
    assert exported.unverified == ()
    assert any(clause.startswith("loaded by peft") for clause in exported.verified)
    base = Checkpoint(checkpoint.shape, checkpoint.model, checkpoint.tokenizer_proto, dict(checkpoint.header))
    del base.header["lora"]
    save(tmp_path / "base.pt", base)
    export(tmp_path / "base.pt", tmp_path / "base", "hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", local_files_only=True)
    adapted_model = peft.PeftModel.from_pretrained(model, tmp_path / "out").eval()
    ids = torch.randint(
        0, checkpoint.shape.vocab_size - EMPTY_ROWS, (2, 40), generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        expected = build_model(checkpoint)(ids)
        torch.testing.assert_close(adapted_model(ids).logits, expected, rtol=0, atol=1e-4)
        assert float((build_model(base)(ids) - expected).abs().max()) > 0.1


def test_merged_weights_are_what_other_formats_hold(adapted: Tuned, tmp_path: Path) -> None:
    path, checkpoint = adapted()
    export(path, tmp_path / "m.safetensors", "safetensors")
    found = safetensors.load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in checkpoint.inference_weights.items())


def test_a_checkpoint_without_adapters_is_refused_by_name(tuned: Tuned, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no adapters in this checkpoint") as caught:
        export(tuned("llama")[0], tmp_path / "out", "peft")
    assert caught.value.hint == "use `format=hf`, which writes all weights"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["peft", "transformers"])
def test_without_a_package_it_says_what_nobody_checked(
    package: str, adapted: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    exported = export(adapted()[0], tmp_path / "out", "peft")
    assert len(exported.verified) == 1
    assert any(clause.startswith("logits in PEFT: ") for clause in exported.unverified)


def test_the_card_names_what_it_was_tuned_from(adapted: Tuned, tmp_path: Path) -> None:
    path, _ = adapted()
    cards: dict[str, Any] = {}
    for kind, place in (("peft", "README.md"), ("hf", "README.md"), ("gguf", "")):
        export(path, tmp_path / kind, kind)
        cards[kind] = (tmp_path / kind / place if place else tmp_path / f"{kind}.md").read_text("utf-8")
        assert "base_model: Maker/tiny-1\n" in cards[kind].split("---")[1]
        assert "adapters (LoRA of rank 3 and alpha 7 on q_proj, v_proj, down_proj) were trained" in cards[kind]
        assert "tuned from is under `apache-2.0`" in cards[kind]
    assert "library_name: peft\n" in cards["peft"]
    assert "and are here without it" in cards["peft"]
    assert "merged into its weights" in cards["hf"]
    assert 'base = "Maker/tiny-1"' in cards["peft"]
