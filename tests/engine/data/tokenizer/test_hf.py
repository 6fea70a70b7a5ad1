"""Tokenizers of other models: the ids of `tokenizers`, text that stays text, and files that are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import MAX_BUNDLE_BYTES, bundle
from nima_cli.engine.data.tokenizer.load import load_tokenizer, tokenizer_from_bytes
from nima_cli.engine.data.tokenizer.protocol import TextStream, UnencodableError
from nima_cli.engine.data.tokenizer.samples import CachingEncoder
from nima_cli.errors import CheckpointError, InputError
from tests.engine.data.hf_tokenizers import NAMES, TEXTS, hf_files, hf_tokenizer, write_files
from tests.engine.data.small_tokenizers import ANY_TEXT, TRAINED
from tests.growth import assert_near_linear

SPELLINGS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<filename>", "<|begin_of_text|>", "<|eot_id|>", "</s>",
             "<s>", "<unk>", "<0x41>", "<think>", "\ufdd01\ufdd1", "\ufdd0259\ufdd1", "\ufdd2"]  # fmt: skip
PARTS = [*SPELLINGS, "kubectl", " ", "  ", "\n", "\n\n", "\t", " \n", "\r\n", "pod", "7", "12345", "a\u0301", "é",
         "\u00a0", "\x1c", "\u2028", "猫", "🙂", "'s", "'LL", "#", "...", "—", "user", ":", "\u2581", "\0"]  # fmt: skip
MIXED = st.lists(st.sampled_from(PARTS), max_size=14).map("".join)


def native(name: str) -> Any:
    found = tokenizers.Tokenizer.from_str(hf_files(name)["tokenizer.json"])
    found.encode_special_tokens = True
    return found


NATIVE = {name: native(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=250, deadline=None)
@given(text=ANY_TEXT | MIXED)
def test_ids_are_those_of_tokenizers_and_never_special(name: str, text: str) -> None:
    tokenizer = hf_tokenizer(name)
    ids = tokenizer.encode(text)
    assert tokenizer.special_ids.isdisjoint(ids)
    if name != "metaspace" or not text.startswith(" "):  # where `tokenizers` would lose the space
        assert ids == NATIVE[name].encode(text, add_special_tokens=False).ids
    assert CachingEncoder(tokenizer).encode(text) == ids


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT | MIXED)
def test_text_comes_back_where_nothing_normalises_it(name: str, text: str) -> None:
    tokenizer = hf_tokenizer(name)
    ids = tokenizer.encode(text)
    decoded = tokenizer.decode(ids)
    assert decoded == (NATIVE[name].normalizer.normalize_str(text) if name == "qwen" else text) or "\u2581" in text
    if decoded == text:
        lead = len(text) > 0 and tokenizer.leading_space != ""
        assert tokenizer.byte_lengths()[ids].sum() == len(text.encode()) + lead


@pytest.mark.parametrize("name", NAMES)
def test_whole_documents_have_the_same_ids_from_a_warm_cache(name: str) -> None:
    encoder, tokenizer = CachingEncoder(hf_tokenizer(name)), hf_tokenizer(name)
    for text in TEXTS + TEXTS:
        expected = NATIVE[name].encode(text, add_special_tokens=False).ids
        assert encoder.encode(text) == expected
        assert tokenizer.decode(expected) == NATIVE[name].decode(expected) == text


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_cut_into_stretches(name: str) -> None:
    pattern = hf_tokenizer(name).stretches
    assert pattern is not None
    parts = pattern.findall(TEXTS[0])
    assert "".join(parts) == TEXTS[0]
    assert len(parts) > 10


CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+@"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*@"
    r"|\p{N}#| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT_4O = CASED.replace("@", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("#", "{1,3}")
TEKKEN = CASED.replace("@", "").replace("#", "")


GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


@pytest.mark.parametrize("patterns", [[GPT_4O], [TEKKEN], [r"\p{N}", GPT_2], [GPT_2]], ids=len)
def test_texts_are_cut_for_the_patterns_of_other_models_as_well(patterns: list[str]) -> None:
    files = changed("llama3", put("pre_tokenizer", "pretokenizers", value=[*map(split, patterns), BYTES]))
    encoder = CachingEncoder(HFTokenizer.from_bytes(bundle(files), where="x"))
    theirs = tokenizers.Tokenizer.from_str(files["tokenizer.json"])
    theirs.encode_special_tokens = True

    @settings(max_examples=150)
    @given(text=ANY_TEXT | MIXED)
    def same(text: str) -> None:
        assert encoder.encode(text) == theirs.encode(text, add_special_tokens=False).ids

    assert isinstance(encoder.tokenizer, HFTokenizer)
    assert encoder.tokenizer.stretches is not None
    same()
    for text in TEXTS:
        assert encoder.encode(text) == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    "step",
    [
        {"type": "Split", "pattern": {"Regex": r"\w+|\W+"}, "behavior": "Isolated", "invert": False},
        {"type": "Split", "pattern": {"String": "o"}, "behavior": "MergedWithNext", "invert": False},
        {"type": "Punctuation", "behavior": "Isolated"},
    ],
)
def test_an_unknown_way_to_split_is_followed_by_not_cutting(step: dict[str, Any]) -> None:
    def change(file: dict[str, Any]) -> None:
        file["pre_tokenizer"]["pretokenizers"][0] = step

    files = changed("smol", change)
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    expected = tokenizers.Tokenizer.from_str(files["tokenizer.json"]).encode(TEXTS[0], add_special_tokens=False).ids
    assert tokenizer.stretches is None
    assert CachingEncoder(tokenizer).encode(TEXTS[0]) == expected


def test_pieces_that_span_words_keep_a_text_whole() -> None:
    def join_words(file: dict[str, Any]) -> None:
        model = file["model"]
        model["vocab"]["s\u2581"] = len(model["vocab"])
        model["merges"].insert(0, ["s", "\u2581"])

    tokenizer = HFTokenizer.from_bytes(bundle(changed("mistral", join_words)), where="x")
    assert tokenizer.stretches is None
    assert CachingEncoder(tokenizer).encode("pods run")[-4:] == tokenizer.encode("pods run")[-4:]


SYMBOLS = {  # begins prose, ends a document, fills, and what ends writing
    "smol": ("<|endoftext|>", "<|endoftext|>", "<|im_end|>", {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}),
    "llama3": ("<|begin_of_text|>", "<|end_of_text|>", "<|end_of_text|>",
               {"<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"}),
    "qwen": ("<|endoftext|>", "<|endoftext|>", "<|endoftext|>", {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}),
    "mistral": ("<s>", "</s>", "</s>", {"<s>", "</s>"}),
    "metaspace": ("<s>", "</s>", "</s>", {"<s>", "</s>"}),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_symbols_have_the_jobs_that_the_model_learnt(name: str) -> None:
    tokenizer = hf_tokenizer(name)
    jobs = [tokenizer.piece(one) for one in (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)]
    assert (*jobs, {tokenizer.piece(one) for one in tokenizer.stop_ids}) == SYMBOLS[name]
    lengths = tokenizer.byte_lengths()
    assert lengths.dtype == np.int32
    assert {one for one in range(tokenizer.vocab_size) if not lengths[one]} == tokenizer.special_ids
    assert tokenizer.token_bytes(tokenizer.vocab_size + 7) == b""
    assert tokenizer.decode([tokenizer.vocab_size + 7, tokenizer.eos_id]) == ""


@pytest.mark.parametrize(
    ("config", "begin", "end"),
    [
        ({}, "<|begin_of_text|>", "<|end_of_text|>"),
        ({"add_bos_token": False}, "<|end_of_text|>", "<|end_of_text|>"),
        ({"add_bos_token": True, "bos_token": "<|eot_id|>"}, "<|eot_id|>", "<|end_of_text|>"),
        ({"bos_token": "<|absent|>", "eos_token": "<|absent|>"}, "<|begin_of_text|>", "<|end_of_text|>"),
    ],
)
def test_settings_change_the_jobs(config: dict[str, Any], begin: str, end: str) -> None:
    files = hf_files("llama3")
    files["tokenizer_config.json"] = json.dumps(config)
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    assert (tokenizer.piece(tokenizer.bos_id), tokenizer.piece(tokenizer.eos_id)) == (begin, end)


def test_an_unknown_separator_is_the_end_token_or_that_of_generation() -> None:
    def rename(file: dict[str, Any]) -> None:
        file["added_tokens"][1]["content"] = "<|fin|>"

    files = changed("llama3", rename)
    files["tokenizer_config.json"] = json.dumps({"eos_token": {"content": "<|fin|>"}})
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    assert tokenizer.piece(tokenizer.eos_id) == "<|fin|>"
    files["tokenizer_config.json"] = "{}"
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    assert tokenizer.piece(tokenizer.eos_id) == "<|fin|>"
    del files["generation_config.json"]
    with pytest.raises(CheckpointError, match="`eos_token` is missing"):
        HFTokenizer.from_bytes(bundle(files), where="x")


def test_an_ordinary_piece_that_fills_rows_stays_a_piece() -> None:
    files = hf_files("smol")
    files["tokenizer_config.json"] = json.dumps({"pad_token": "!", "eos_token": "<|im_end|>", "sep_token": "pod"})
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    assert tokenizer.decode(tokenizer.encode("pods!")) == "pods!"


@pytest.mark.parametrize("name", NAMES)
def test_spelled_special_tokens_are_text_even_where_the_vocabulary_has_them(name: str) -> None:
    """With merges that make one, as conversions from SentencePiece have, and with `ignore_merges`."""

    def spell(file: dict[str, Any]) -> None:
        model, token = file["model"], file["added_tokens"][0]
        model["vocab"][token["content"]] = token["id"]
        model["merges"] += [[token["content"][:cut], token["content"][cut:]] for cut in range(1, 4)]
        model["merges"] = [pair for pair in model["merges"] if {*pair} <= model["vocab"].keys()]
        model["ignore_merges"] = True

    tokenizer = HFTokenizer.from_bytes(bundle(changed(name, spell)), where="x")
    for content in SPELLINGS:
        for text in (content, f" {content} ", f"a{content}b", content * 3, f"{content[:2]}{content}{content[2:]}"):
            assert tokenizer.special_ids.isdisjoint(tokenizer.encode(text))
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_added_tokens_that_are_not_special_come_from_text_and_decode_to_themselves() -> None:
    tokenizer = hf_tokenizer("qwen")
    text = "so <think>2 + 2</think> it is"
    ids = tokenizer.encode(text)
    assert [tokenizer.piece(one) for one in ids if tokenizer.piece(one).startswith("<")] == ["<think>", "</think>"]
    assert tokenizer.decode(ids) == text
    assert CachingEncoder(tokenizer).encode(text) == ids


@pytest.mark.parametrize("name", NAMES)
def test_streamed_tokens_are_whole_characters(name: str) -> None:
    tokenizer, text = hf_tokenizer(name), "größe 猫 𝄞 👩\u200d🚀 🇦🇹 a\tb\n"
    ids, stream = tokenizer.encode(text), TextStream(tokenizer)
    streamed = [stream.push(one) for one in ids]
    assert "".join(streamed).removeprefix(" ") == text
    assert not any("\ufffd" in piece for piece in streamed)
    assert len(ids) > len(text.split())


def test_pieces_are_readable() -> None:
    tokenizer = hf_tokenizer("smol")
    assert [tokenizer.piece(one) for one in tokenizer.encode("wait\n")][-1] == "\n"
    assert "".join(tokenizer.piece(one) for one in tokenizer.encode("猫")) == "<0xE7><0x8C><0xAB>"
    assert tokenizer.piece(tokenizer.eos_id) == "<|endoftext|>"


def test_half_a_character_pair_is_no_text() -> None:
    for encode in (hf_tokenizer("smol").encode, CachingEncoder(hf_tokenizer("smol")).encode):
        with pytest.raises(InputError, match="lone surrogate"):
            encode("a \ud800b")


def test_a_character_that_a_vocabulary_lacks_is_told() -> None:
    def forget_bytes(file: dict[str, Any]) -> None:
        file["model"]["byte_fallback"] = False

    tokenizer = HFTokenizer.from_bytes(bundle(changed("mistral", forget_bytes)), where="x")
    assert tokenizer.encode("pods")
    with pytest.raises(UnencodableError, match="lacks a character"):
        tokenizer.encode("pods 猫")


def test_a_bundle_gives_back_the_files_and_is_always_the_same_bytes() -> None:
    files = hf_files("llama3")
    proto = bundle(files)
    assert proto == bundle(dict(reversed(files.items()))) == bundle(files | {"vocab.json": "{}"})
    assert proto.startswith(b"{")
    tokenizer = tokenizer_from_bytes(proto, where="x")
    assert isinstance(tokenizer, HFTokenizer)
    assert tokenizer.files == files
    assert tokenizer.proto == proto
    assert tokenizer.hf_json() == files["tokenizer.json"]
    with pytest.raises(CheckpointError, match="surrogate"):
        bundle(files | {"chat_template.jinja": "\ud800"})


def test_a_tokenizer_is_found_in_a_folder_a_file_and_a_bundle(tmp_path: Path) -> None:
    folder, expected = write_files(hf_files("qwen"), tmp_path / "model"), hf_tokenizer("qwen").sha256
    (tmp_path / "qwen.model").write_bytes(hf_tokenizer("qwen").proto)
    (tmp_path / "own.model").write_bytes(TRAINED["bpe"].proto)
    for path in (folder, folder / "tokenizer.json", tmp_path / "qwen.model"):
        assert load_tokenizer(path).sha256 == expected
    assert load_tokenizer(tmp_path / "own.model").kind == "bpe"
    with pytest.raises(CheckpointError, match=r"0 files match .*expected one, or a `tokenizer.json`"):
        load_tokenizer(tmp_path)
    (folder / "tokenizer_config.json").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: not UTF-8"):
        load_tokenizer(folder)


def changed(name: str, change: Callable[[dict[str, Any]], None]) -> dict[str, str]:
    files = hf_files(name)
    file = json.loads(files["tokenizer.json"])
    change(file)
    return files | {"tokenizer.json": json.dumps(file)}


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(file: Any) -> None:
        for key in path[:-1]:
            file = file[key]
        file[path[-1]] = value

    return change


def nested(depth: int) -> dict[str, Any]:
    step: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        step = {"type": "Sequence", "normalizers": [step]}
    return step


def split(pattern: Any) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


HOSTILE = [
    (put("model", value=None), "`model.type`"),
    (put("model", "type", value="Unigram"), "'Unigram'"),
    (put("model", "vocab", value=[]), "no table of tokens"),
    (put("model", "vocab", "a", value="1"), "no whole number"),
    (put("model", "vocab", "a", value=True), "no whole number"),
    (put("model", "vocab", "a", value=-1), "no whole number"),
    (put("model", "vocab", "a", value=2**40), "no whole number"),
    (put("model", "vocab", "zz", value=40), "same id"),
    (put("model", "vocab", "z" * 5000, value=999), "too long"),
    (put("model", "vocab", "\ufdd07\ufdd1", value=999), "noncharacter"),
    (put("model", "merges", value={}), "no list of merges"),
    (put("model", "merges", 0, value="a b c"), "no pair"),
    (put("model", "merges", 0, value=["a", 1]), "no pair"),
    (put("model", "merges", 0, value=["a", "nowhere"]), "out of vocabulary"),
    (put("model", "end_of_word_suffix", value="</w>"), "end_of_word_suffix"),
    (put("added_tokens", value={}), "no list of tokens"),
    (put("added_tokens", value=[3]), "no list of tokens"),
    (put("added_tokens", 0, "id", value=None), "no whole number"),
    (put("added_tokens", 0, "content", value=""), "no `content`"),
    (put("added_tokens", 0, "content", value=7), "no `content`"),
    (put("added_tokens", 0, "content", value="\ufdd2"), "no `content`"),
    (put("added_tokens", 0, "id", value=300), "another id"),
    (put("added_tokens", 1, value={"id": 0, "content": "<|endoftext|>"}), "the same"),
    (put("added_tokens", 0, value={"id": 9000, "content": "<|far|>"}), "leaves a gap"),
    (put("normalizer", value="NFC"), "no `type`"),
    (put("normalizer", value={"type": "Imaginary"}), "."),
    (put("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "compiled table"),
    (put("normalizer", value={"type": "Sequence", "normalizers": "NFC"}), "no list"),
    (put("normalizer", value={"type": "Prepend", "prepend": "x" * 300_000}), "too long"),
    (put("normalizer", value=nested(100)), "more than 64 steps"),
    (put("normalizer", value={"type": "NFC", "more": json.loads("[" * 600 + "]" * 600)}), "."),
    (put("pre_tokenizer", value=split("(a+)+$")), "for ever"),
    (put("pre_tokenizer", value=split("(a|aa)+$")), "for ever"),
    (put("pre_tokenizer", value=split("(?:a*)*b")), "for ever"),
    (put("pre_tokenizer", value=split(r"(x+x+){2,}y")), "for ever"),
    (put("pre_tokenizer", value=split(r"(.*)\1+$")), "for ever"),
    (put("pre_tokenizer", value=split("a*a*a*a*b")), "for ever"),
    (put("pre_tokenizer", value=split("a" * 3000)), "too long"),
    (put("pre_tokenizer", value=split(7)), "no text"),
    (put("pre_tokenizer", value=split("(")), "."),
    (put("decoder", value=None), "how tokens are joined"),
    (put("decoder", value={"type": "WordPiece", "prefix": "##", "cleanup": True}), "'WordPiece'"),
    (put("post_processor", value={"type": 3}), "no `type`"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "problem"), HOSTILE)
def test_a_file_that_cannot_be_used_is_refused(change: Callable[[dict[str, Any]], None], problem: str) -> None:
    proto = bundle(changed("smol", change))
    with pytest.raises(CheckpointError, match=f"^crafted.model: this is not a Hugging Face tokenizer.*{problem}"):
        tokenizer_from_bytes(proto, where="crafted.model")


@pytest.mark.parametrize(
    ("proto", "problem"),
    [
        (b"{", "not JSON"),
        (b"{}", "not a bundle"),
        (b'{"nima_tokenizer": "hf", "files": []}', "not a bundle"),
        (b'{"nima_tokenizer": "hf", "files": {}}', "has no `tokenizer.json`"),
        (b'{"nima_tokenizer": "hf", "files": {"tokenizer.json": 3}}', "which is none of"),
        (b'{"nima_tokenizer": "hf", "files": {"run.py": "x", "tokenizer.json": "{}"}}', "'run.py'"),
        (b'{"nima_tokenizer": "hf", "files": {"tokenizer.json": "x"}}', "tokenizer.json is not JSON"),
        (b'{"nima_tokenizer": "hf", "files": {"tokenizer.json": "[]"}}', "not a JSON object"),
        (b'{"nima_tokenizer": "hf", "files": {"tokenizer.json": "{}"}}', "`model.type`"),
        (
            b'{"nima_tokenizer": "hf", "files": {"tokenizer.json": "{}", "tokenizer_config.json": "["}}',
            "_config.json is",
        ),
        (b'{"x": ' + b"[" * 100_000, "not JSON"),
        (b"{" + b" " * MAX_BUNDLE_BYTES + b"}", "more than 67,108,864"),
    ],
)
def test_a_bundle_that_is_none_is_refused(proto: bytes, problem: str) -> None:
    with pytest.raises(CheckpointError, match=f"^x.model: this is not a Hugging Face tokenizer.*{problem}"):
        tokenizer_from_bytes(proto, where="x.model")


def test_a_file_of_any_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "big.model").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(CheckpointError, match="so it is no tokenizer"):
        load_tokenizer(tmp_path / "big.model")


@pytest.mark.parametrize(
    "key", ["eos_token", "additional_special_tokens", "chat_template", "add_bos_token", "eos_token_id"]
)
@pytest.mark.parametrize("value", [3, True, [3], {"content": 3}, [[]], None, 1e9, -1, [10**30], "\ufdd0"])
def test_settings_of_any_type_are_ignored_or_refused(key: str, value: Any) -> None:
    files = hf_files("smol")
    name = "generation_config.json" if key == "eos_token_id" else "tokenizer_config.json"
    del files["chat_template.jinja"]
    files[name] = json.dumps({key: value})
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    assert tokenizer.piece(tokenizer.eos_id) == "<|endoftext|>"
    assert tokenizer.stop_ids


def test_what_changes_texts_by_itself_is_switched_off() -> None:
    def add(file: dict[str, Any]) -> None:
        file["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
        file["padding"] = {"strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                           "pad_type_id": 0, "pad_token": "<|endoftext|>"}  # fmt: skip
        file["model"]["dropout"] = 0.9

    tokenizer = HFTokenizer.from_bytes(bundle(changed("smol", add)), where="x")
    assert tokenizer.encode(TEXTS[0]) == hf_tokenizer("smol").encode(TEXTS[0])


ENDINGS, LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+"


@pytest.mark.parametrize(
    "pattern",
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        rf"{ENDINGS}|{LETTERS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{M}}]+{ENDINGS}?|\p{{N}}{{1,3}}",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+| ?[\p{P}\p{S}]+[\r\n]*|\s+",
        r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
        r"[一-龥぀-ゟ゠-ヿ]+",
    ],
)
def test_patterns_of_real_models_are_not_taken_for_slow_ones(pattern: str) -> None:
    files = changed("smol", put("pre_tokenizer", "pretokenizers", 0, value=split(pattern)))
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == TEXTS[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unit", ["a", "7", " ", "\n", "#", "ab ", "<|im_end|>"], ids=ascii)
def test_a_megabyte_of_one_thing_takes_near_linear_time(name: str, unit: str) -> None:
    encode = CachingEncoder(hf_tokenizer(name)).encode
    assert_near_linear(lambda size: encode(unit * (size // len(unit))), 2**15, 2**19)
