"""The tokenizer is lossless, never produces a special symbol, and trusts no file."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.tokenizer import TextStream, Tokenizer
from nima_cli.engine.data.tokenizer_files import CONTROL_SYMBOLS
from nima_cli.errors import CheckpointError, DataError, InputError

TEXTS = [
    f"# Section {n}\n\nRun `kubectl get pods -n team-{n}` and wait {n * 7} seconds.\n\n```yaml\nkey:\n    - a{n}\n```\n"
    for n in range(40)
] + ["Größe und Überschrift: naïve café, 東京, Привет мир\n\tindented with a tab\n"] * 3
KINDS = ("bpe", "unigram", "char")
TRAINED = {kind: Tokenizer.train(TEXTS, kind=kind, vocab_size=420, exact=False) for kind in KINDS}

# Everything UTF-8 can hold, and text made of what breaks tokenizers.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HOSTILE = st.lists(
    st.sampled_from(["\u2581", "\u2585", "\0", "\t", "\n", " ", "   ", "\r\n", "<unk>", "<0x41>", "kubectl",
                     "7", "a\u0301", "\ufeff", "\ufffd", "\u2028", "😀", "東京", "</s>", "\x1b[0m", *CONTROL_SYMBOLS]),
    max_size=20,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT | HOSTILE)
def test_decoding_gives_back_exactly_what_was_encoded_without_special_symbols(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert min(ids, default=8) > tokenizer.role_ids["assistant"], "text produced a special symbol or <unk>"
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())


@pytest.mark.parametrize("kind", ["bpe", "char"])
@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT | HOSTILE)
def test_the_json_twin_gives_the_same_ids_and_text(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    twin = TWINS[kind]
    ids = twin.encode(text, add_special_tokens=False).ids
    assert ids == tokenizer.encode(text)
    assert twin.decode(ids) == text


def _twin(kind: str) -> tokenizers.Tokenizer:
    text = TRAINED[kind].json_twin()
    assert text is not None
    twin = tokenizers.Tokenizer.from_str(text)
    twin.encode_special_tokens = True
    return twin


TWINS = {kind: _twin(kind) for kind in ("bpe", "char")}


def test_the_twin_agrees_on_whole_documents_and_knows_the_special_symbols() -> None:
    for text in TEXTS:
        assert TWINS["bpe"].encode(text, add_special_tokens=False).ids == TRAINED["bpe"].encode(text)
    for symbol in CONTROL_SYMBOLS:
        assert TWINS["bpe"].token_to_id(symbol) == CONTROL_SYMBOLS.index(symbol) + 1
    assert TRAINED["unigram"].json_twin() is None


def test_the_vocabulary_has_the_asked_size_and_pieces_of_the_corpus() -> None:
    tokenizer = Tokenizer.train(TEXTS, kind="bpe", vocab_size=400)
    assert tokenizer.vocab_size == 400
    pieces = [tokenizer.piece(token_id) for token_id in range(266, 400)]
    assert max(map(len, pieces)) > 4
    assert any(piece == "    " for piece in pieces), "no piece for indentation"
    assert all(len(piece) == 1 for piece in pieces if any(c.isdigit() for c in piece)), "digits are not split"


def test_training_is_deterministic_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS:
        assert Tokenizer.train(TEXTS, kind=kind, vocab_size=420, exact=False).proto == TRAINED[kind].proto
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_too_large_names_the_size_that_works(kind: str) -> None:
    with pytest.raises(DataError, match=r"60000 does not fit this text: at most \d+ ") as caught:
        Tokenizer.train(TEXTS, kind=kind, vocab_size=60000)
    possible = int(caught.value.message.split("at most ")[1].split()[0])
    assert Tokenizer.train(TEXTS, kind=kind, vocab_size=possible).vocab_size == possible


def test_a_vocabulary_too_small_names_the_size_that_works() -> None:
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 500)))] * 3
    with pytest.raises(DataError, match=r"300 does not fit this text: at least \d+ ") as caught:
        Tokenizer.train(texts, kind="bpe", vocab_size=300)
    possible = int(caught.value.message.split("at least ")[1].split()[0])
    assert Tokenizer.train(texts, kind="bpe", vocab_size=possible).vocab_size == possible
    assert Tokenizer.train(texts, kind="bpe", vocab_size=300, exact=False).vocab_size >= possible


def test_no_text_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no text"):
        Tokenizer.train([], kind="bpe", vocab_size=300)


def test_lines_that_the_trainer_would_skip_are_learned_from() -> None:
    texts = [f"reconcile\treconcile\x00reconcile\u2585reconcile {n}" for n in range(9)]
    tokenizer = Tokenizer.train(texts, kind="bpe", vocab_size=290, exact=False)
    assert len(tokenizer.encode("reconcile")) < 4


def test_surrogates_are_refused() -> None:
    with pytest.raises(InputError, match="not valid Unicode"):
        TRAINED["bpe"].encode("a\ud800b")
    with pytest.raises(InputError, match="not valid Unicode"):
        TRAINED["bpe"].encode_batch(["a", "a\ud800b"], threads=2)


def test_a_batch_is_the_same_as_one_by_one() -> None:
    for texts in (TEXTS, [*TEXTS, "a\u2581b"]):
        assert TRAINED["bpe"].encode_batch(texts, threads=2) == [TRAINED["bpe"].encode(text) for text in texts]


@settings(max_examples=100, deadline=None)
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


@pytest.mark.parametrize("unit", ["a", "7", " ", "^", "\u0301", "ab "])
def test_pathological_text_takes_near_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        started = time.perf_counter()
        assert len(TRAINED["bpe"].encode(text)) > 0
        return time.perf_counter() - started

    small = min(seconds(2**14) for _ in range(3))
    assert seconds(2**18) < 60 * small + 0.2, "16 times the text"


def test_a_tokenizer_is_loaded_from_a_file_or_a_folder(tmp_path: Path) -> None:
    tokenizer = TRAINED["bpe"]
    path = tmp_path / "tokenizer_bpe.model"
    path.write_bytes(tokenizer.proto)
    for place in (path, tmp_path):
        loaded = Tokenizer.load(place)
        assert (loaded.kind, loaded.sha256, loaded.vocab_size) == ("bpe", tokenizer.sha256, 420)
    with pytest.raises(CheckpointError, match="no such file"):
        Tokenizer.load(tmp_path / "missing.model")
    (tmp_path / "tokenizer_char.model").write_bytes(TRAINED["char"].proto)
    with pytest.raises(CheckpointError, match="2 files match"):
        Tokenizer.load(tmp_path)


def test_files_of_another_kind_are_refused_with_their_name() -> None:
    proto = TRAINED["bpe"].proto
    broken = {
        "empty": b"",
        "text": b"hello, this is no tokenizer",
        "cut short": proto[: len(proto) // 2],
        "other special symbol": proto.replace(b"<|end|>", b"<|fin|>"),
        "other normaliser": proto.replace(b"\x08identity", b"\x08nmt_nfkc"),
        "a piece twice": proto + proto[: proto.index(b"<|bos|>")],
    }
    for name, data in broken.items():
        with pytest.raises(CheckpointError, match=r"^here\.model: this is not a tokenizer that nima can use"):
            Tokenizer.from_bytes(data, where="here.model")
        assert data != proto, name


_FUZZ = """
import random, sys
from pathlib import Path
from nima_cli.engine.data.tokenizer import Tokenizer
from nima_cli.errors import CheckpointError
proto = Path(sys.argv[1]).read_bytes()
generator = random.Random(7)
refused = 0
for _ in range(400):
    data = bytearray(proto)
    for _ in range(generator.choice((1, 1, 2, 8))):
        where = generator.randrange(len(data)) if generator.random() < 0.5 else generator.randrange(-600, 0)
        action = generator.random()
        if action < 0.6:
            data[where] = generator.randrange(256)
        elif action < 0.8:
            del data[where : where + generator.randrange(1, 50)]
        else:
            data[where:where] = generator.randbytes(generator.randrange(1, 50))
    try:
        tokenizer = Tokenizer.from_bytes(bytes(data), where="fuzzed")
        assert tokenizer.decode(tokenizer.encode("a \\u00e9\\n")) == "a \\u00e9\\n"
    except CheckpointError:
        refused += 1
print(refused)
"""


def test_damaged_files_never_crash_the_process(tmp_path: Path) -> None:
    path = tmp_path / "good.model"
    path.write_bytes(TRAINED["bpe"].proto)
    done = subprocess.run(
        [sys.executable, "-c", _FUZZ, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
