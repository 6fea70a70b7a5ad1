"""The tokenizers of models that were tuned, in GGUF: names, types, scores, ids, and what llama.cpp could not have."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import bundle
from nima_cli.engine.data.tokenizer.load import tokenizer_from_bytes
from nima_cli.engine.export.gguf.hf_vocabulary import keys_of, limits
from nima_cli.engine.pretrained.load import load_pretrained
from nima_cli.errors import CheckpointError
from tests.engine.data.hf_tokenizers import TEXTS
from tests.engine.export.conftest import EMPTY_ROWS, TUNED, export, tuned_files

gguf = pytest.importorskip("gguf")

Tuned = Callable[..., tuple[Path, Checkpoint]]
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)


def tokenizer(name: str, **changes: Any) -> HFTokenizer:
    """The tokenizer of a model, with other values in its `tokenizer.json`; those of its `model` begin with `model_`."""
    files = tuned_files(name)
    file = json.loads(files["tokenizer.json"])
    for key, value in changes.items():
        place, last = (file["model"], key.removeprefix("model_")) if key.startswith("model_") else (file, key)
        place[last] = value
    return HFTokenizer.from_bytes(bundle(files | {"tokenizer.json": json.dumps(file)}), where=name)


def vocabulary(name: str, **changes: Any) -> Mapping[str, Any]:
    own = tokenizer(name, **changes)
    return keys_of(own, own.vocab_size + EMPTY_ROWS, "out.gguf")


@pytest.mark.parametrize("name", TUNED)
def test_the_model_that_is_read_back_is_the_same(name: str, tuned: Tuned, tmp_path: Path) -> None:
    path, checkpoint = tuned(name)
    exported = export(path, tmp_path / "m.gguf", "gguf")
    assert "the same ids for " in exported.verified[0]
    again, own = load_pretrained(tmp_path / "m.gguf"), tokenizer(name)
    scaling, expected = (shape.rope_scaling for shape in (again.shape, checkpoint.shape))
    assert again.shape.to_dict() | {"rope_scaling": None} == checkpoint.shape.to_dict() | {"rope_scaling": None} | {
        key: pytest.approx(getattr(checkpoint.shape, key)) for key in ("rope_theta", "norm_epsilon")
    }
    if scaling is not None and expected is not None:
        half = checkpoint.shape.head_dim // 2
        plain = [10000.0 ** -(index / half) for index in range(half)]
        assert scaling.scaled(plain, 10000.0) == pytest.approx(expected.scaled(plain, 10000.0))
        assert scaling.attention_factor == pytest.approx(expected.attention_factor)
    assert (scaling is None) == (expected is None)
    assert all(torch.equal(tensor, checkpoint.model[key]) for key, tensor in again.model.items())
    theirs = tokenizer_from_bytes(again.tokenizer_proto, where="test")
    assert all(theirs.encode(text) == own.encode(text) for text in TEXTS[:20])
    assert theirs.special_ids == own.special_ids
    assert own.chat.end_ids <= theirs.stop_ids


@pytest.mark.parametrize(
    ("name", "model", "pre"),
    [
        ("llama", "gpt2", "smollm"), ("llama 3", "gpt2", "llama-bpe"), ("qwen2", "gpt2", "qwen2"),
        ("mistral", "llama", "default"),
    ],
)  # fmt: skip
def test_how_text_is_split_has_its_name(name: str, model: str, pre: str) -> None:
    keys = vocabulary(name)
    assert (keys["tokenizer_model"], keys["tokenizer_pre"]) == (model, pre)
    assert ("token_merges" in keys) == (model == "gpt2")


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    ("name", "changes", "pre"),
    [
        ("llama", {"pre_tokenizer": BYTE_LEVEL}, "gpt-2"),
        ("llama 3", {"model_ignore_merges": False}, "smaug-bpe"),
    ],
)
def test_other_ways_to_split(name: str, changes: dict[str, Any], pre: str) -> None:
    assert vocabulary(name, **changes)["tokenizer_pre"] == pre


def split(pattern: str) -> dict[str, Any]:
    piece = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [piece, {**BYTE_LEVEL, "use_regex": False}]}


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("llama", {"pre_tokenizer": split(r"\w+|\W+")}, r"no name for how it splits text: \\w\+\|\\W\+"),
        ("llama", {"model_ignore_merges": True}, "no name for how it splits text"),
        ("llama", {"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}}, "a step 'ByteLevel'"),
        ("llama", {"normalizer": {"type": "Lowercase"}}, "the step 'Lowercase'"),
        ("mistral", {"normalizer": {"type": "NFKC"}}, "marks spaces in a way"),
        ("mistral", {"model_byte_fallback": False}, "neither byte-level BPE nor"),
    ],
)
def test_what_llama_cpp_would_split_otherwise_is_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as caught:
        vocabulary(name, **changes)
    assert caught.value.message.startswith("out.gguf: ")
    assert caught.value.hint is not None


@pytest.mark.parametrize("how", ["one fewer", "in another order"])
def test_merges_that_scores_cannot_say_are_refused(how: str) -> None:
    merges = json.loads(tuned_files("mistral")["tokenizer.json"])["model"]["merges"]
    made = [left + right for left, right in merges]
    split = next(place for place, piece in enumerate(made) if made.count(piece) > 1)  # a piece with two ways to make it
    apart = [*merges[:split], *merges[split + 1 :], merges[split]]
    changed = merges[1:] if how == "one fewer" else apart
    with pytest.raises(CheckpointError, match="not those of SentencePiece"):
        vocabulary("mistral", model_merges=changed)


def test_scores_are_in_the_order_of_merges() -> None:
    merges = json.loads(tuned_files("mistral")["tokenizer.json"])["model"]["merges"]
    keys = vocabulary("mistral")
    scores = dict(zip(keys["token_list"], keys["token_scores"], strict=True))
    made = list(dict.fromkeys(left + right for left, right in merges))
    assert sorted(made, key=scores.__getitem__, reverse=True) == made
    assert len({scores[piece] for piece in made}) == len(made)


def test_types_and_the_rows_that_no_token_has() -> None:
    keys, own = vocabulary("mistral"), tokenizer("mistral")
    types = dict(zip(keys["token_list"], keys["token_types"], strict=True))
    assert (types["<unk>"], types["<s>"], types["</s>"], types["<0x0A>"]) == (UNKNOWN, CONTROL, CONTROL, BYTE)
    assert keys["token_list"][-EMPTY_ROWS:] == [f"[PAD{own.vocab_size + number}]" for number in range(EMPTY_ROWS)]
    assert keys["token_types"][-EMPTY_ROWS - 1 :] == [NORMAL] + [UNUSED] * EMPTY_ROWS
    qwen = vocabulary("qwen3")
    types = dict(zip(qwen["token_list"], qwen["token_types"], strict=True))
    assert (types["<|im_end|>"], types["<think>"], types["a"]) == (CONTROL, USER, NORMAL)


def test_a_token_that_is_there_twice_is_refused() -> None:
    known, size = json.loads(tuned_files("llama")["tokenizer.json"])["model"]["vocab"], tokenizer("llama").vocab_size
    with pytest.raises(CheckpointError, match=rf"the token '\[PAD{size + 2}\]' twice"):
        vocabulary("llama", model_vocab={**known, f"[PAD{size + 2}]": size})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # `</s>` ends documents and turns; what the tokenizer puts before a text is put there.
        ("mistral", {"bos": "<s>", "eos": "</s>", "eot": "</s>", "unk": "<unk>", "adds": True}),
        ("llama 3", {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>", "eot": "<|eot_id|>", "eom": "<|end_of_text|>",
                     "adds": True}),
        ("llama", {"bos": "<|im_start|>", "eos": "<|im_end|>", "eot": "<|im_end|>", "eom": "<|endoftext|>",
                   "pad": "<|im_end|>", "adds": False}),
        # Without a BOS of its own it is what separates documents.
        ("qwen3", {"bos": "<|endoftext|>", "eos": "<|im_end|>", "eot": "<|im_end|>", "eom": "<|endoftext|>",
                   "pad": "<|endoftext|>", "adds": False}),
    ],
)  # fmt: skip
def test_special_ids(name: str, expected: dict[str, Any]) -> None:
    keys = vocabulary(name)
    found = {kind: keys["token_list"][keys[f"{kind}_token_id"]] for kind in ("bos", "eos", "eot", "eom", "pad", "unk")
             if f"{kind}_token_id" in keys}  # fmt: skip
    assert {**found, "adds": keys["add_bos_token"]} == expected


def test_what_llama_cpp_does_otherwise_is_said(tuned: Tuned, tmp_path: Path) -> None:
    notes = {name: limits(tokenizer(name), vocabulary(name)) for name in TUNED}
    assert notes["llama"] == notes["llama 3"] == notes["mistral"] == []
    assert "does not compose characters" in notes["qwen2"][0]
    assert "a space before text after every special token" in notes["mistral, spaces by Metaspace"][0]
    assert export(tuned("qwen2")[0], tmp_path / "m.gguf", "gguf").notes[-1:] == tuple(notes["qwen2"])


def test_text_that_would_be_read_as_a_special_token_is_said() -> None:
    file = json.loads(tuned_files("mistral")["tokenizer.json"])["model"]
    first = len(file["vocab"])
    more = {**file["vocab"], "</": first, "s>": first + 1}
    merges = [*file["merges"], ["<", "/"], ["s", ">"]]
    crafted = tokenizer("mistral", model_vocab=more, model_merges=merges)
    keys = keys_of(crafted, crafted.vocab_size, "out.gguf")
    assert limits(crafted, keys) == ["llama.cpp reads text that spells `<s>`, `</s>` as the special token"]
