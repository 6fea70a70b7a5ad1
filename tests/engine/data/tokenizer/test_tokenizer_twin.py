"""The JSON twin gives the ids of the SentencePiece file, through Hugging Face `tokenizers`."""

import os
import random
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.tokenizer.encoder import CachingEncoder
from nima_cli.engine.data.tokenizer.sentencepiece_file import CONTROL_SYMBOLS
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from tests.engine.data.small_tokenizers import ANY_TEXT, HOSTILE, TEXTS, TRAINED

TWIN_KINDS = ("bpe", "char")


def twin_of(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    text = tokenizer.json_twin()
    assert text is not None
    twin = tokenizers.Tokenizer.from_str(text)
    twin.encode_special_tokens = True
    return twin


def periodic() -> list[str]:
    """Texts of few letters that repeat themselves: there, the same piece can be put together in several ways."""
    generator = random.Random(0)
    words = ["".join(generator.choices("ab ", k=generator.randrange(1, 6))) for _ in range(12)]
    return ["".join(generator.choices(words, k=20)) for _ in range(150)]


PERIODIC = Tokenizer.train(periodic(), kind="bpe", vocab_size=560, exact=False)
TOKENIZERS = {"periodic": PERIODIC, **{kind: TRAINED[kind] for kind in TWIN_KINDS}}
TWINS = {name: twin_of(tokenizer) for name, tokenizer in TOKENIZERS.items()}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=300)
@given(text=ANY_TEXT | HOSTILE | st.text("ab ", max_size=60))
def test_the_twin_gives_the_same_ids_and_text(name: str, text: str) -> None:
    ids = TWINS[name].encode(text, add_special_tokens=False).ids
    assert ids == TOKENIZERS[name].encode(text)
    assert TWINS[name].decode(ids) == text


def test_the_twin_agrees_on_whole_documents_and_knows_the_special_symbols() -> None:
    for text in TEXTS:
        assert TWINS["bpe"].encode(text, add_special_tokens=False).ids == TRAINED["bpe"].encode(text)
    for symbol in CONTROL_SYMBOLS:
        assert TWINS["bpe"].token_to_id(symbol) == CONTROL_SYMBOLS.index(symbol) + 1


def test_unigram_has_no_twin() -> None:
    assert TRAINED["unigram"].json_twin() is None


def corpus_texts() -> list[str]:
    """Every document as it lies there; files of records line by line."""
    root = os.environ.get("NIMA_TEST_CORPUS")
    if not root:
        pytest.skip("set NIMA_TEST_CORPUS to the folder of the shared corpus")
    texts = list[str]()
    for path in sorted(Path(root).rglob("*")):
        if path.is_file():
            text = path.read_bytes().decode("utf-8")
            texts += text.split("\n") if path.suffix in (".json", ".jsonl") else [text]
    return texts


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.parametrize("kind", TWIN_KINDS)
def test_the_twin_agrees_on_the_whole_corpus(kind: str) -> None:
    texts = corpus_texts()
    sample = random.Random(0).sample(texts, len(texts) // 20)
    tokenizer = Tokenizer.train(sample, kind=kind, vocab_size=8192, exact=False)
    twin, encoder = twin_of(tokenizer), CachingEncoder(tokenizer)
    size = 2000
    for start in range(0, len(texts), size):
        part = texts[start : start + size]
        others = twin.encode_batch_fast(part, add_special_tokens=False)
        for text, other in zip(part, others, strict=True):
            assert other.ids == encoder.encode(text), text[:200]
