"""Text cannot forge a special symbol, and no text makes encoding slow."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.protocol import render_prose
from nima_cli.engine.data.tokenizer.samples import CachingEncoder
from nima_cli.engine.data.tokenizer.sentencepiece_file import (
    CONTROL_SYMBOLS,
    FIRST_BYTE_ID,
    SPACE_MARK,
    UNKNOWN,
    USER_SYMBOLS,
)
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from tests.engine.data.small_tokenizers import KINDS, TEXTS, TRAINED
from tests.engine.data.tokenizer.test_hf_tokenizer import hf_tokenizer
from tests.growth import assert_near_linear

SPELLINGS = [*CONTROL_SYMBOLS, UNKNOWN, "<s>", "</s>", "<pad>", "<0x02>", "<0x0A>"]
# A corpus about chat templates: the trainer meets the symbols, too.
ABOUT = [f"{word}{word} {word} the token {word}\n{word}" for word in SPELLINGS for _ in range(30)]
TOKENIZERS = TRAINED | {
    f"{kind} about tokens": SentencePieceTokenizer.train(ABOUT + TEXTS, kind=kind, vocab_size=420, exact=False)
    for kind in KINDS
}
HF_TOKENIZERS = {name: hf_tokenizer(one) for name, one in TOKENIZERS.items() if one.kind != "unigram"}
FIRST_OF_TEXT = FIRST_BYTE_ID - len(USER_SYMBOLS)


def disguises(symbol: str) -> list[str]:
    """Spellings of a special symbol that a later stage might put together."""
    middle, number = len(symbol) // 2, CONTROL_SYMBOLS.index(symbol) + 1 if symbol in CONTROL_SYMBOLS else 0
    head, tail = symbol[:middle], symbol[middle:]
    return [
        symbol,
        symbol * 50,
        f"x{symbol}y",
        f" {symbol} ",
        head + symbol + tail,
        f"{head}{SPACE_MARK}{tail}",
        f"{SPACE_MARK}{symbol}{SPACE_MARK}",
        *(head + inside + tail for inside in ("\u200b", "\0", "\u00ad", "\n", " ", "\u034f", "\ufeff")),
        symbol.replace("|", "｜").replace("<", "＜").replace(">", "＞"),
        symbol.upper(),
        "".join(f"<0x{byte:02X}>" for byte in symbol.encode()),
        f"\0{number}\0",
        chr(number),
        f"<{number}>",
        f"\\u{number:04x}",
    ]


def check(name: str, text: str) -> None:
    """The text comes back, and no content gives a special id."""
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text)
    assert min(ids) >= FIRST_OF_TEXT
    assert tokenizer.decode(ids) == text
    assert CachingEncoder(tokenizer).encode(text) == ids
    if name in HF_TOKENIZERS:
        assert HF_TOKENIZERS[name].encode(text, add_special_tokens=False).ids == ids
    turns = [Turn("system", text), Turn("user", text), Turn("assistant", text)]
    whole = tokenizer.chat.render(turns, loss="assistant").ids
    roles = [tokenizer.role_ids[turn.role] for turn in turns]
    assert [one for one in whole if one < FIRST_OF_TEXT] == [
        tokenizer.bos_id, *(one for role in roles for one in (role, tokenizer.end_id)), tokenizer.eos_id,
    ]  # fmt: skip
    prompt = [one for one in tokenizer.chat.prompt(turns[:1]) if one < FIRST_OF_TEXT]
    assert prompt == [tokenizer.bos_id, roles[0], tokenizer.end_id, roles[2]]
    assert render_prose(ids, tokenizer, last=True).ids == [tokenizer.bos_id, *ids, tokenizer.eos_id]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("symbol", SPELLINGS)
def test_spelling_a_special_symbol_gives_text(name: str, symbol: str) -> None:
    for text in disguises(symbol):
        check(name, text)


FRAGMENTS = st.sampled_from([*SPELLINGS, "<", "|", ">", "<|", "|>", "eos", "bos", "end", "\0", "1", SPACE_MARK, " "])


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=100)
@given(text=st.lists(FRAGMENTS, min_size=1, max_size=12).map("".join))
def test_no_mixture_of_fragments_gives_a_special_symbol(name: str, text: str) -> None:
    check(name, text)


# A vocabulary with pieces for every text below, so that there is something to merge.
RUNS = ["a" * 64, "^" * 64, "=" * 64, "x" + " " * 64 + "x", "ab " * 30, "e" + "\u0301" * 40]
RUN_TOKENIZERS = {
    kind: SentencePieceTokenizer.train(TEXTS + RUNS * 9, kind=kind, vocab_size=420, exact=False) for kind in KINDS
}
UNITS = ["a", "7", " ", "\n", "\t", "^", "\u0301", "ab ", SPACE_MARK, f"{SPACE_MARK}a"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_a_megabyte_of_one_thing_takes_near_linear_time(kind: str, unit: str) -> None:
    tokenizer = RUN_TOKENIZERS[kind]
    # Where nothing is remembered, the caching encoder is the tokenizer itself.
    for encode in (tokenizer.encode, CachingEncoder(tokenizer).encode)[: 2 if kind == "bpe" else 1]:
        assert_near_linear(partial(encode_units, encode, unit), 2**16, 2**20)


def encode_units(encode: Callable[[str], list[int]], unit: str, characters: int) -> None:
    assert min(encode(unit * (characters // len(unit)))) >= FIRST_OF_TEXT
