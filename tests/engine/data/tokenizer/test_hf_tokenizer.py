"""The tokenizer.json gives the ids of the SentencePiece file, through Hugging Face `tokenizers`."""

import os
import random
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.tokenizer.samples import CachingEncoder
from nima_cli.engine.data.tokenizer.sentencepiece_file import CONTROL_SYMBOLS
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from tests.engine.data.small_tokenizers import ANY_TEXT, HOSTILE, TEXTS, TRAINED

HF_KINDS = ("bpe", "char")


def hf_tokenizer(tokenizer: SentencePieceTokenizer) -> tokenizers.Tokenizer:
    text = tokenizer.hf_json()
    assert text is not None
    theirs = tokenizers.Tokenizer.from_str(text)
    theirs.encode_special_tokens = True
    return theirs


def periodic() -> list[str]:
    """Repetitive texts of few letters, in which one piece can be merged in several ways."""
    generator = random.Random(0)
    words = ["".join(generator.choices("ab ", k=generator.randrange(1, 6))) for _ in range(12)]
    return ["".join(generator.choices(words, k=20)) for _ in range(150)]


PERIODIC = SentencePieceTokenizer.train(periodic(), kind="bpe", vocab_size=560, exact=False)
TOKENIZERS = {"periodic": PERIODIC, **{kind: TRAINED[kind] for kind in HF_KINDS}}
HF_TOKENIZERS = {name: hf_tokenizer(tokenizer) for name, tokenizer in TOKENIZERS.items()}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=300)
@given(text=ANY_TEXT | HOSTILE | st.text("ab ", max_size=60))
def test_it_gives_the_same_ids_and_text(name: str, text: str) -> None:
    ids = HF_TOKENIZERS[name].encode(text, add_special_tokens=False).ids
    assert ids == TOKENIZERS[name].encode(text)
    assert HF_TOKENIZERS[name].decode(ids) == text


def test_it_agrees_on_whole_documents_and_knows_the_special_symbols() -> None:
    for text in TEXTS:
        assert HF_TOKENIZERS["bpe"].encode(text, add_special_tokens=False).ids == TRAINED["bpe"].encode(text)
    for symbol in CONTROL_SYMBOLS:
        assert HF_TOKENIZERS["bpe"].token_to_id(symbol) == CONTROL_SYMBOLS.index(symbol) + 1


def test_unigram_has_none() -> None:
    assert TRAINED["unigram"].hf_json() is None


def corpus_texts() -> list[str]:
    """Each document as it is; files of records line by line."""
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
@pytest.mark.parametrize("kind", HF_KINDS)
def test_it_agrees_on_the_whole_corpus(kind: str) -> None:
    texts = corpus_texts()
    sample = random.Random(0).sample(texts, len(texts) // 20)
    tokenizer = SentencePieceTokenizer.train(sample, kind=kind, vocab_size=8192, exact=False)
    theirs, encoder = hf_tokenizer(tokenizer), CachingEncoder(tokenizer)
    size = 2000
    for start in range(0, len(texts), size):
        part = texts[start : start + size]
        others = theirs.encode_batch_fast(part, add_special_tokens=False)
        for text, other in zip(part, others, strict=True):
            assert other.ids == encoder.encode(text), text[:200]
