"""One small tokenizer of each kind, and text that is made to break them."""

from hypothesis import strategies as st

from nima_cli.engine.data.tokenizer.sentencepiece_file import CONTROL_SYMBOLS
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer

TEXTS = [
    f"# Section {n}\n\nRun `kubectl get pods -n team-{n}` and wait {n * 7} seconds.\n\n```yaml\nkey:\n    - a{n}\n```\n"
    for n in range(40)
] + ["Größe und Überschrift: naïve café, 東京, Привет мир\n\tindented with a tab\n"] * 3
KINDS = ("bpe", "unigram", "char")
TRAINED = {kind: SentencePieceTokenizer.train(TEXTS, kind=kind, vocab_size=420, exact=False) for kind in KINDS}

# Everything UTF-8 can hold, and text made of what breaks tokenizers.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HOSTILE = st.lists(
    st.sampled_from(["\u2581", "\u2585", "\0", "\t", "\n", " ", "   ", "\r\n", "<unk>", "<0x41>", "kubectl",
                     "7", "a\u0301", "\ufeff", "\ufffd", "\u2028", "😀", "東京", "</s>", "\x1b[0m", *CONTROL_SYMBOLS]),
    max_size=20,
).map("".join)  # fmt: skip
