"""The tokenizer is lossless; training is deterministic and names the sizes that are possible."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.protocol import TextStream
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import CheckpointError, DataError, InputError
from tests.engine.data.small_tokenizers import ANY_TEXT, HOSTILE, KINDS, TEXTS, TRAINED


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(text=ANY_TEXT | HOSTILE)
def test_decoding_gives_back_exactly_what_was_encoded_without_special_symbols(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert min(ids, default=8) > tokenizer.role_ids["assistant"], "text produced a special symbol or <unk>"
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())


def test_the_vocabulary_has_the_asked_size_and_pieces_of_the_corpus() -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, kind="bpe", vocab_size=400)
    assert tokenizer.vocab_size == 400
    pieces = [tokenizer.piece(token_id) for token_id in range(266, 400)]
    assert max(map(len, pieces)) > 4
    assert any(piece == "    " for piece in pieces), "no piece for indentation"
    assert all(len(piece) == 1 for piece in pieces if any(c.isdigit() for c in piece)), "digits are not split"


def test_the_rules_for_pieces_are_followed() -> None:
    tokenizer = SentencePieceTokenizer.train(
        TEXTS, kind="bpe", vocab_size=400, allow_whitespace_only_pieces=False, split_digits=False
    )
    pieces = [tokenizer.piece(token_id) for token_id in range(266, 400)]
    assert not any(piece.isspace() and len(piece) > 1 for piece in pieces)
    assert any(piece.strip().isdigit() and len(piece.strip()) > 1 for piece in pieces)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [["東京特許許可局" * 20], ["東京特許許可局" * 6000, "a b"]], ids=["none", "rare"])
def test_spaces_come_back_even_where_the_corpus_has_none(kind: str, texts: list[str]) -> None:
    tokenizer = SentencePieceTokenizer.train(texts, kind=kind, vocab_size=300, exact=False)
    assert tokenizer.decode(tokenizer.encode(" a b  東京 ")) == " a b  東京 "


def test_training_is_deterministic_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS:
        assert SentencePieceTokenizer.train(TEXTS, kind=kind, vocab_size=420, exact=False).proto == TRAINED[kind].proto
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_too_large_names_the_size_that_works(kind: str) -> None:
    with pytest.raises(DataError, match=r"60000 does not fit this text: at most \d+ ") as caught:
        SentencePieceTokenizer.train(TEXTS, kind=kind, vocab_size=60000)
    possible = int(caught.value.message.split("at most ")[1].split()[0])
    assert SentencePieceTokenizer.train(TEXTS, kind=kind, vocab_size=possible).vocab_size == possible


def test_a_vocabulary_too_small_names_the_size_that_works() -> None:
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 500)))] * 3
    with pytest.raises(DataError, match=r"300 does not fit this text: at least \d+ ") as caught:
        SentencePieceTokenizer.train(texts, kind="bpe", vocab_size=300)
    possible = int(caught.value.message.split("at least ")[1].split()[0])
    assert SentencePieceTokenizer.train(texts, kind="bpe", vocab_size=possible).vocab_size == possible
    assert SentencePieceTokenizer.train(texts, kind="bpe", vocab_size=300, exact=False).vocab_size >= possible


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_without_room_for_the_symbols_is_an_error(kind: str) -> None:
    with pytest.raises(DataError, match=f"^cannot train a {kind} tokenizer on this text: "):
        SentencePieceTokenizer.train(["abc def"], kind=kind, vocab_size=3)


def test_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no text"):
        SentencePieceTokenizer.train([], kind="bpe", vocab_size=300)


def test_lines_that_the_trainer_would_skip_are_learned_from() -> None:
    texts = [f"reconcile\treconcile\x00reconcile\u2585reconcile {n}" for n in range(9)]
    tokenizer = SentencePieceTokenizer.train(texts, kind="bpe", vocab_size=290, exact=False)
    assert len(tokenizer.encode("reconcile")) < 4


def test_surrogates_are_refused() -> None:
    with pytest.raises(InputError, match="not valid Unicode"):
        TRAINED["bpe"].encode("a\ud800b")


@settings(max_examples=100)
@given(text=ANY_TEXT | HOSTILE)
def test_a_stream_gives_whole_characters_that_join_to_the_text(text: str) -> None:
    stream = TextStream(TRAINED["bpe"])
    parts = [stream.push(token_id) for token_id in TRAINED["bpe"].encode(text)]
    assert "".join(parts) + stream.flush() == text
    assert "\ufffd" in text or not any("\ufffd" in part for part in parts)


def test_a_stream_cut_inside_a_character_says_so_at_the_end_only() -> None:
    tokenizer = TRAINED["bpe"]
    stream = TextStream(tokenizer)
    ids = tokenizer.encode("😀")
    assert len(ids) == 4
    assert [stream.push(token_id) for token_id in [tokenizer.bos_id, *ids[:3]]] == ["", "", "", ""]
    assert stream.flush() == "\ufffd"
    assert stream.push(tokenizer.encode("a")[0]) == "a"


def test_pieces_are_readable_and_special_symbols_stand_for_no_bytes() -> None:
    tokenizer = TRAINED["bpe"]
    shown = [tokenizer.piece(token_id) for token_id in range(9)]
    assert shown == [
        "<unk>",
        "<|bos|>",
        "<|eos|>",
        "<|pad|>",
        "<|end|>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "\n",
    ]
    lengths = tokenizer.byte_lengths()
    assert lengths.dtype == np.int32
    assert lengths[:8].tolist() == [0] * 8
    assert lengths[8:266].tolist() == [1] * 258
    assert tokenizer.decode([tokenizer.bos_id, *tokenizer.encode("x"), tokenizer.eos_id]) == "x"


def test_a_tokenizer_is_loaded_from_a_file_or_a_folder(tmp_path: Path) -> None:
    tokenizer = TRAINED["bpe"]
    path = tmp_path / "tokenizer_bpe.model"
    path.write_bytes(tokenizer.proto)
    for place in (path, tmp_path):
        loaded = load_tokenizer(place)
        assert (loaded.kind, loaded.sha256, loaded.vocab_size) == ("bpe", tokenizer.sha256, 420)
    with pytest.raises(CheckpointError, match="no such file"):
        load_tokenizer(tmp_path / "missing.model")
    (tmp_path / "tokenizer_char.model").write_bytes(TRAINED["char"].proto)
    with pytest.raises(CheckpointError, match="2 files match"):
        load_tokenizer(tmp_path)
