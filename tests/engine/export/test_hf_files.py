"""Models that were tuned go back as they came: the layout, the tokenizer's files, the numbers, the chat format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint, save
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.pretrained.load import load_pretrained
from nima_cli.errors import CheckpointError
from tests.engine.export.conftest import TUNED, export, tuned_files

transformers = pytest.importorskip("transformers")

Tuned = Callable[..., tuple[Path, Checkpoint]]
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}


@pytest.mark.parametrize("name", TUNED)
def test_the_layout_and_the_numbers_come_back(name: str, tuned: Tuned, tmp_path: Path) -> None:
    path, checkpoint = tuned(name)
    exported = export(path, tmp_path / "out", "hf")
    assert exported.unverified == ()
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["architectures"] == [f"{CLASSES[TUNED[name][1]]}ForCausalLM"]
    again = load_pretrained(tmp_path / "out")
    assert again.shape == checkpoint.shape
    assert again.header["layout"] == TUNED[name][1]
    assert all(torch.equal(tensor, checkpoint.model[key]) for key, tensor in again.model.items())


@pytest.mark.parametrize("name", TUNED)
def test_the_tokenizers_files_are_untouched(name: str, tuned: Tuned, tmp_path: Path) -> None:
    path, _ = tuned(name)
    exported = export(path, tmp_path / "out", "hf")
    for file, text in tuned_files(name).items():
        assert (tmp_path / "out" / file).read_bytes() == text.encode()
        assert tmp_path / "out" / file in exported.files
    assert {file.name for file in (tmp_path / "out").iterdir()} == {file.name for file in exported.files}


@pytest.mark.parametrize("name", TUNED)
def test_transformers_asks_and_ends_as_nima_does(name: str, tuned: Tuned, tmp_path: Path) -> None:
    path, checkpoint = tuned(name)
    export(path, tmp_path / "out", "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    own = HFTokenizer.from_bytes(checkpoint.tokenizer_proto, where="test")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Größe?"}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert asked == own.chat.prompt([Turn("user", "Größe?")])
    ends = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config.eos_token_id
    told = json.loads(tuned_files(name).get("generation_config.json", "{}")).get("eos_token_id")
    assert ends == told


def without_template(name: str, **config: Any) -> dict[str, str]:
    files = tuned_files(name)
    del files["chat_template.jinja"]
    values = {**json.loads(files["tokenizer_config.json"]), **config}
    return files | {"tokenizer_config.json": json.dumps(values)}


@pytest.mark.parametrize("name", ["llama", "llama 3"])
def test_a_model_without_a_chat_template_gets_the_one_that_it_was_tuned_with(
    name: str, tuned: Tuned, tmp_path: Path
) -> None:
    path, checkpoint = tuned(name, without_template(name))
    export(path, tmp_path / "out", "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    turns = [Turn("user", "x"), Turn("assistant", "y"), Turn("user", "z")]
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert asked == HFTokenizer.from_bytes(checkpoint.tokenizer_proto, where="test").chat.prompt(turns)


def test_a_template_in_the_configuration_stays_there(tuned: Tuned, tmp_path: Path) -> None:
    template = tuned_files("llama")["chat_template.jinja"]
    path, _ = tuned("llama", without_template("llama", chat_template=template))
    export(path, tmp_path / "out", "hf")
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


def test_a_layout_that_its_weights_contradict_is_not_believed(tuned: Tuned, tmp_path: Path) -> None:
    _, checkpoint = tuned("qwen3")
    checkpoint.header["layout"] = "mistral"
    save(tmp_path / "odd.pt", checkpoint)
    export(tmp_path / "odd.pt", tmp_path / "out", "hf")
    assert json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))["model_type"] == "qwen3"


def test_norms_and_biases_together_are_refused(tuned: Tuned, tmp_path: Path) -> None:
    path, _ = tuned("qwen3", qkv_bias=True)
    for kind in ("hf", "gguf"):
        with pytest.raises(CheckpointError, match="both `qk_norm` and `qkv_bias`"):
            export(path, tmp_path / "out", kind)
    assert list(tmp_path.iterdir()) == []
