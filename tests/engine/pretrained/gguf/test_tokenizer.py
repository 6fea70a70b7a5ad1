"""Tokenizers out of the metadata of GGUF files: the ids that the model was trained with, and refusals by key."""

import json
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.export import verify
from nima_cli.engine.pretrained.gguf.header import read_header
from nima_cli.engine.pretrained.gguf.tokenizer import read_tokenizer
from nima_cli.errors import CheckpointError
from tests.engine.export.conftest import export
from tests.engine.pretrained.others import TEMPLATE, tokenizer_fields

library = pytest.importorskip("tokenizers")


def fields(**changes: Any) -> dict[str, Any]:
    """The metadata of a byte-level tokenizer, with changes of `tokenizer.ggml`; the value `...` takes a key away."""
    found = tokenizer_fields()
    found["tokenizer.ggml.tokens"] += ["ĠĠ", "12", "123"]
    found["tokenizer.ggml.token_type"] += [1, 1, 1]
    found["tokenizer.ggml.merges"] = ["Ġ Ġ", *found["tokenizer.ggml.merges"], "1 2", "12 3"]
    found |= {f"tokenizer.ggml.{name}": value for name, value in changes.items()}
    return {key: value for key, value in found.items() if value is not ...}


def tokenizer(metadata: dict[str, Any]) -> Any:
    return library.Tokenizer.from_str(read_tokenizer(metadata, "x.gguf")["tokenizer.json"])


@pytest.mark.parametrize(
    ("pre", "text", "expected"),
    [
        ("gpt-2", "  123", ["Ġ", "Ġ", "123"]),
        ("smollm", "  123", ["ĠĠ", "1", "2", "3"]),  # digits are split off before spaces are
        ("llama-bpe", "  1234", ["Ġ", "Ġ", "123", "4"]),
        ("qwen2", "  123", ["Ġ", "Ġ", "1", "2", "3"]),
        ("tekken", "  123", ["Ġ", "Ġ", "1", "2", "3"]),
        ("gpt-2", "the\r\n", ["t", "he", "č", "Ċ"]),
    ],
)
def test_text_is_split_as_the_file_says(pre: str, text: str, expected: list[str]) -> None:
    assert tokenizer(fields(pre=pre)).encode(text, add_special_tokens=False).tokens == expected


@pytest.mark.parametrize("text", verify.TEXTS)
def test_bytes_come_back_as_they_were(text: str) -> None:
    found = tokenizer(fields())
    assert found.decode(found.encode(text).ids, skip_special_tokens=False) == text


def test_tokens_of_control_and_of_the_user_are_found_in_text() -> None:
    metadata = fields()
    metadata["tokenizer.ggml.tokens"] += ["<think>", "[PAD7]"]
    metadata["tokenizer.ggml.token_type"] += [4, 5]
    found = tokenizer(metadata)
    assert found.encode("<|im_end|><think>").ids == [2, len(metadata["tokenizer.ggml.tokens"]) - 2]
    assert found.token_to_id("[PAD7]") is None  # it only fills up the embedding
    assert {one.content for one in found.get_added_tokens_decoder().values() if one.special} == {
        "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    }  # fmt: skip


def test_what_begins_and_ends_texts_is_said() -> None:
    files = read_tokenizer(fields(pre="llama-bpe", eot_token_id=0, padding_token_id=0), "x.gguf")
    assert json.loads(files["generation_config.json"]) == {
        "bos_token_id": 0, "eos_token_id": [2, 0], "pad_token_id": 0,
    }  # fmt: skip
    config = json.loads(files["tokenizer_config.json"])
    assert (config["bos_token"], config["eos_token"], config["pad_token"]) == (
        "<|endoftext|>", "<|im_end|>", "<|endoftext|>",
    )  # fmt: skip
    assert config["chat_template"] == TEMPLATE
    assert config["add_bos_token"] is True
    assert tokenizer(fields(pre="llama-bpe")).encode("a").ids[0] == 0
    assert tokenizer(fields(pre="llama-bpe", add_bos_token=False)).encode("a").ids[0] != 0
    assert tokenizer(fields(pre="gpt-2")).encode("a").ids[0] != 0


@pytest.mark.parametrize("text", [*verify.TEXTS, "a_literal mark"])
def test_sentencepiece_s_ids_come_out_of_an_export(
    text: str, saved: Any, tokenizers: dict[str, SentencePieceTokenizer], tmp_path: Path
) -> None:
    export(saved("llama")[0], tmp_path / "x.gguf", "gguf")
    with (tmp_path / "x.gguf").open("rb") as file:
        metadata = read_header(file).metadata
    found = tokenizer(metadata)
    ids = found.encode(text, add_special_tokens=False).ids
    assert ids == tokenizers["bpe"].encode(text)
    assert found.decode(ids, skip_special_tokens=False) == text
    assert found.encode(text).ids == [tokenizers["bpe"].bos_id, *ids]


def test_a_space_before_a_text_is_put_and_taken_away_where_the_file_says_so(
    saved: Any, tokenizers: dict[str, SentencePieceTokenizer], tmp_path: Path
) -> None:
    export(saved("llama")[0], tmp_path / "x.gguf", "gguf")
    with (tmp_path / "x.gguf").open("rb") as file:
        metadata = read_header(file).metadata
    for changes in ({"tokenizer.ggml.add_space_prefix": True}, {"tokenizer.ggml.add_space_prefix": ...}):
        found = tokenizer({key: value for key, value in {**metadata, **changes}.items() if value is not ...})
        for text in ("a", " a", "wait 30s"):
            ids = found.encode(text, add_special_tokens=False).ids
            assert ids == tokenizers["bpe"].encode(f" {text}")
            assert found.decode(ids) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, '`tokenizer.ggml.model` is "bert"; nima reads gpt2 and llama'),
        ({"model": ...}, '`tokenizer.ggml.model` is ""'),
        ({"pre": "bloom"}, '`tokenizer.ggml.pre` is "bloom"; nima reads gpt-2, '),
        ({"pre": ...}, '`tokenizer.ggml.pre` is ""'),
        ({"pre": [1]}, "`tokenizer.ggml.pre` is [1]"),
        ({"tokens": ...}, "`tokenizer.ggml.tokens` is missing, or of another kind"),
        ({"tokens": [1, 2]}, "`tokenizer.ggml.tokens` is missing, or of another kind"),
        ({"token_type": [1]}, "`tokenizer.ggml.token_type` has 1 values for 264 tokens"),
        ({"merges": ["a"]}, '`tokenizer.ggml.merges` has "a", which is no pair'),
        ({"merges": ["a b c"]}, '`tokenizer.ggml.merges` has "a b c", which is no pair'),
        ({"merges": ["x y"]}, '`tokenizer.ggml.merges` needs "xy", which is no token'),
        ({"eos_token_id": 264}, "`tokenizer.ggml.eos_token_id` is 264, there are 264 tokens"),
        ({"eos_token_id": -1}, "`tokenizer.ggml.eos_token_id` is -1"),
        ({"bos_token_id": "0"}, '`tokenizer.ggml.bos_token_id` is "0"'),
        ({"model": "llama", "scores": ...}, "`tokenizer.ggml.scores` is missing"),
        ({"tokens": ["a"] * 264}, 'the token "a" occurs twice'),
    ],
)
def test_what_nima_does_not_read_is_refused_with_key_and_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_tokenizer(fields(**changes), "x.gguf")
    assert message in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


def test_a_piece_that_would_take_for_ever_to_cut_is_refused() -> None:
    found = {"model": "llama", "tokens": ["a" * 100_000], "token_type": [1], "scores": [0.0]}
    with pytest.raises(CheckpointError, match="a token of 100,000 characters"):
        read_tokenizer({f"tokenizer.ggml.{name}": value for name, value in found.items()}, "x.gguf")
