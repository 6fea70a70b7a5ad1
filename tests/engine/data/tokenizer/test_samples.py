"""Caching lines and stretches changes no token ids."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.tokenizer import samples as module
from nima_cli.engine.data.tokenizer.samples import CachingEncoder
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer

TEXTS = [
    f"The scheduler  assigns pod {number}.\n\n```yaml\n# comment\nspec:\n\treplicas: {number}\n  name: x\n```\n"
    for number in range(60)
]
ENCODERS = {
    kind: CachingEncoder(SentencePieceTokenizer.train(TEXTS, kind=kind, vocab_size=420, exact=False))
    for kind in ("bpe", "unigram", "char")
}
PARTS = st.sampled_from(
    ["scheduler", " ", "  ", "\n", "\t", "pod 7", "\u2581", "é", "\r", "\0", "<|eos|>", "🙂", "\u00a0", "a"]
)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
@settings(max_examples=150)
@given(text=st.one_of(st.text(max_size=60), st.lists(PARTS, max_size=25).map("".join)))
def test_ids_are_those_of_the_tokenizer(kind: str, text: str) -> None:
    encoder = ENCODERS[kind]
    assert encoder.encode(text) == encoder.tokenizer.encode(text)
    assert encoder.encode(text) == encoder.tokenizer.encode(text)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_STRETCHES", 50)
    monkeypatch.setattr(module, "_MAX_LINES", 10)
    encoder = CachingEncoder(ENCODERS["bpe"].tokenizer)
    for number in range(500):
        text = f"line {number} of many\nand word{number}\n"
        assert encoder.encode(text) == encoder.tokenizer.encode(text)
        assert len(encoder._stretches) <= 50
        assert len(encoder._lines) <= 10
    encoder.encode("x" * 10_000)
    assert max(map(len, [*encoder._stretches, *encoder._lines])) < 1000
