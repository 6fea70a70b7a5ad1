"""The exported folder in transformers: the same numbers, ids, text and chat format, without any code of ours."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint, build_model
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.export.verify import SPELLED_MARK, SPELLED_SYMBOLS, TEXTS
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import CheckpointError
from tests.engine.export.conftest import LAYOUTS, export

transformers = pytest.importorskip("transformers")

Saved = Callable[..., tuple[Path, Checkpoint]]
TURNS = (Turn("system", "Be brief.\n"), Turn("user", " What is a pod? "), Turn("assistant", "```\na\n```"))


@pytest.fixture(scope="module")
def folder(saved: Saved, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a Qwen3 layout; not to be changed."""
    path = tmp_path_factory.mktemp("export") / "a model"
    export(saved()[0], path, "hf")
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.inference_mode()
def test_logits_and_greedy_ids_are_those_of_the_checkpoint(layout: str, saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved(layout)
    exported = export(path, tmp_path / "out", "hf")
    assert exported.unverified == ()
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    assert type(model).__name__ == {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}[layout]
    own = build_model(checkpoint)
    ids = torch.randint(20, checkpoint.shape.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(ids).logits, own(ids), rtol=0, atol=1e-4)
    text = TextGenerator(own, SentencePieceTokenizer.from_bytes(checkpoint.tokenizer_proto, where="test"))
    prompt = tokenizer("Run `kubectl", return_tensors="pt")
    ours = text.encode_prompt("Run `kubectl")
    assert prompt["input_ids"][0].tolist() == ours
    for _ in range(24):
        logits_TV = own(torch.tensor([ours]))[0]
        ours.append(int(logits_TV[-1].argmax()))
        if ours[-1] in text.end_ids:
            break
    out = model.generate(**prompt, do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=24)
    assert out[0].tolist() == ours


@pytest.mark.parametrize("text", [*TEXTS, SPELLED_MARK])
def test_plain_text_has_the_ids_of_a_prompt_to_nima(
    text: str, tokenizer: Any, tokenizers: dict[str, SentencePieceTokenizer]
) -> None:
    ids = [tokenizers["bpe"].bos_id, *tokenizers["bpe"].encode(text)]
    assert tokenizer(text)["input_ids"] == ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_spelled_symbols_stay_text_when_asked_to(tokenizer: Any, tokenizers: dict[str, SentencePieceTokenizer]) -> None:
    found = tokenizer(SPELLED_SYMBOLS, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert found == tokenizers["bpe"].encode(SPELLED_SYMBOLS)
    assert tokenizer(SPELLED_SYMBOLS, add_special_tokens=False)["input_ids"] != found


@pytest.mark.parametrize("turns", [TURNS, TURNS[1:], TURNS[:2]])
def test_the_chat_template_is_the_renderer(
    turns: tuple[Turn, ...], tokenizer: Any, tokenizers: dict[str, SentencePieceTokenizer]
) -> None:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    options = {"tokenize": True, "return_dict": False}
    asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)
    assert asked == tokenizers["bpe"].chat.prompt(turns)
    assert tokenizer.apply_chat_template(messages, **options) == tokenizers["bpe"].chat.render(turns, loss="all").ids


def test_the_chat_template_refuses_a_role_that_the_model_has_not(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="unknown role tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_an_answer_ends_at_the_end_of_a_turn(folder: Path, tokenizers: dict[str, SentencePieceTokenizer]) -> None:
    config = transformers.GenerationConfig.from_pretrained(folder)
    own = tokenizers["bpe"]
    assert {own.eos_id, own.end_id, *own.role_ids.values()} <= set(config.eos_token_id)
    assert (config.temperature, config.top_k, config.top_p) == (0.8, 50, 0.95)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_type_of_the_weights(dtype: str, saved: Saved, tmp_path: Path) -> None:
    path, checkpoint = saved()
    exported = export(path, tmp_path / "out", "hf", dtype=dtype)
    assert any("logits" in clause for clause in exported.verified)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto", local_files_only=True)
    wanted = getattr(torch, dtype)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(tensor, checkpoint.model[name].to(wanted)), name


def test_a_char_tokenizer_travels_too(
    saved: Saved, tokenizers: dict[str, SentencePieceTokenizer], tmp_path: Path
) -> None:
    export(saved("qwen3", "char")[0], tmp_path / "out", "hf")
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    assert found("Größe: 東京", add_special_tokens=False)["input_ids"] == tokenizers["char"].encode("Größe: 東京")


def test_a_unigram_tokenizer_is_refused_by_name(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unigram") as caught:
        export(saved("qwen3", "unigram")[0], tmp_path / "out", "hf")
    assert caught.value.hint is not None
    assert list(tmp_path.iterdir()) == []


def test_without_transformers_it_says_what_nobody_checked(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    exported = export(saved()[0], tmp_path / "out", "hf")
    assert [clause.split(":")[0] for clause in exported.verified] == ["read back by safetensors"]
    assert "transformers" in exported.unverified[0]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "qwen3"
