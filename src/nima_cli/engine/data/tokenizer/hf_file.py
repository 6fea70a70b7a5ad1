"""Reads the tokenizer files of Hugging Face models, checked in Python before native code sees them.

A bundle is one file that holds them all. Special tokens get names in it that no text spells, so that the native library
finds them only where a chat format has put them: `encode_special_tokens` alone does not keep a vocabulary with
`ignore_merges` from finding a special token that a text spells.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nima_cli.engine.data.tokenizer.hf_steps import (
    Json,
    RefusedError,
    check_steps,
    decoding_of,
    first_token,
    leading_space,
)
from nima_cli.errors import CheckpointError

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)
MAX_BUNDLE_BYTES = 64 * 2**20
# Unicode noncharacters, which stand for nothing in a text: the name of a special token begins and ends with them.
MARK, END_MARK, GUARD = "\ufdd0", "\ufdd1", "\ufdd2"

_MAX_TOKENS, _MAX_ADDED, _MAX_MERGES = 2**20, 2**16, 2**22
_MAX_PIECE_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a `tokenizer.json` says.

    Attributes:
        pieces: the tokens as the file writes them, by id; empty for an id without one.
        token_bytes: their UTF-8 bytes by id; none for special tokens.
        special: ids of the special tokens by what they look like.
        first: the special token that the tokenizer itself puts before a text, if any.
        leading_space: the space with which a text begins and that decoding takes away: `always`, or `missing` if only a
            text that has none gets one, or none at all.
        native: the JSON for the native library.
    """

    pieces: tuple[str, ...]
    token_bytes: tuple[bytes, ...]
    special: Mapping[str, int]
    first: str | None
    leading_space: str
    native: Json


def bundle(files: Mapping[str, str]) -> bytes:
    """One file that holds the tokenizer files of a model, their texts untouched; names other than `FILES` are left out.

    Raises `CheckpointError` for text that is not valid Unicode.
    """
    kept = {name: text for name, text in files.items() if name in FILES}
    try:
        return json.dumps(
            {"nima_tokenizer": "hf", "files": kept}, ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode("utf-8")
    except UnicodeEncodeError:
        raise CheckpointError("a tokenizer file holds a lone surrogate", hint="download the model again") from None


def read_bundle(proto: bytes, where: str) -> dict[str, str]:
    """The files in a bundle; raises `CheckpointError` if it is none."""
    try:
        if len(proto) > MAX_BUNDLE_BYTES:
            raise RefusedError(f"it has {len(proto):,} bytes, more than {MAX_BUNDLE_BYTES:,}")
        found = _json(proto, "the bundle")
        files = found.get("files")
        if found.get("nima_tokenizer") != "hf" or not isinstance(files, dict):
            raise RefusedError("it is not a bundle of tokenizer files")
        if strange := [name for name in files if name not in FILES or not isinstance(files[name], str)]:
            raise RefusedError(f"it holds {strange[0][:40]!a}, which is none of {', '.join(FILES)}")
        if "tokenizer.json" not in files:
            raise RefusedError("it has no `tokenizer.json`")
        return files
    except RefusedError as reason:
        raise refused(where, reason) from None


def refused(where: str, reason: object) -> CheckpointError:
    """The error for a tokenizer that cannot be used."""
    return CheckpointError(
        f"{where}: this is not a Hugging Face tokenizer that nima can use: {reason}",
        hint="download the model again, or choose one of `nima models list`",
    )


def read_settings(files: Mapping[str, str], where: str) -> tuple[Json, Json]:
    """`tokenizer_config.json` over `special_tokens_map.json`, and `generation_config.json`; empty where absent."""
    try:
        found = {name: _json(text, name) for name, text in files.items() if name != FILES[0] and name.endswith(".json")}
    except RefusedError as reason:
        raise refused(where, reason) from None
    config = found.get("special_tokens_map.json", {}) | found.get("tokenizer_config.json", {})
    return config, found.get("generation_config.json", {})


def read_vocabulary(text: str, special: frozenset[str], where: str) -> Vocabulary:
    """Check a `tokenizer.json`.

    Args:
        special: tokens that are special although the file does not say so, unless they are ordinary pieces of text.

    Raises:
        CheckpointError: damaged, hostile, or of a kind that nima cannot use.
    """
    try:
        return _read_checked(_json(text, FILES[0]), special)
    except RefusedError as reason:
        raise refused(where, reason) from None
    except RecursionError:
        raise refused(where, f"{FILES[0]} is nested too deeply") from None


def _json(text: str | bytes, name: str) -> Json:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{name} is not JSON ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise RefusedError(f"{name} is not a JSON object")
    return found


def _read_checked(found: Json, named: frozenset[str]) -> Vocabulary:
    model = found.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else None
        raise RefusedError(f"its `model.type` is {ascii(kind)[:40]}, and only 'BPE' can be read")
    vocab, merges = _vocab(model), _merges(model)
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise RefusedError(f"it uses `model.{key}`")
    added = _added(found.get("added_tokens"), vocab)
    for section in ("normalizer", "pre_tokenizer"):
        check_steps(found.get(section), section)
    special = {token["content"]: token["id"] for token in added if token["special"] or token["content"] in named}
    made = {left + right for left, right in merges}
    special |= {name: vocab[name] for name in named if name in vocab and name not in made and len(name) > 1}
    by_id = {token_id: piece for piece, token_id in vocab.items()} | {one["id"]: one["content"] for one in added}
    pieces = tuple(by_id.get(token_id, "") for token_id in range(max(by_id) + 1))
    decoding = decoding_of(found.get("decoder"))
    literal = {token["content"] for token in added}
    return Vocabulary(
        pieces,
        tuple(
            b"" if piece in special else piece.encode() if piece in literal else decoding.bytes_of(piece)
            for piece in pieces
        ),
        special,
        first_token(found.get("post_processor")),
        leading_space(found),
        _native(found, model, vocab, merges, added, special),
    )


def _vocab(model: Json) -> dict[str, int]:
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not 0 < len(vocab) <= _MAX_TOKENS:
        raise RefusedError("its `model.vocab` is no table of tokens")
    _check_ids(vocab.values())
    if len(set(vocab.values())) != len(vocab):
        raise RefusedError("two tokens of `model.vocab` have the same id")
    if any(len(piece) > _MAX_PIECE_CHARACTERS or MARK in piece or GUARD in piece for piece in vocab):
        raise RefusedError("a token of `model.vocab` is too long, or holds a Unicode noncharacter")
    return vocab


def _check_ids(ids: Any) -> None:
    if not all(type(one) is int and 0 <= one < _MAX_TOKENS for one in ids):
        raise RefusedError(f"the id of a token is no whole number from 0 to {_MAX_TOKENS - 1}")


def _merges(model: Json) -> list[Sequence[str]]:
    """The merges as pairs; older files write a pair as one string."""
    merges = model.get("merges")
    if not isinstance(merges, list) or len(merges) > _MAX_MERGES:
        raise RefusedError("its `model.merges` is no list of merges")
    pairs = [one.split(" ") if isinstance(one, str) else one for one in merges]
    if not all(isinstance(pair, list) and len(pair) == 2 and {*map(type, pair)} == {str} for pair in pairs):
        raise RefusedError("one of `model.merges` is no pair of tokens")
    return pairs


def _added(found: Any, vocab: Mapping[str, int]) -> list[Json]:
    """The added tokens, with all their flags."""
    added = [] if found is None else found
    if not isinstance(added, list) or len(added) > _MAX_ADDED or not all(isinstance(one, dict) for one in added):
        raise RefusedError("its `added_tokens` are no list of tokens")
    _check_ids(one.get("id") for one in added)
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    for one in added:
        content = one.get("content")
        if not isinstance(content, str) or not 0 < len(content) <= _MAX_PIECE_CHARACTERS or _marked(content):
            raise RefusedError("an added token has no `content` that can be used")
        if vocab.get(content, one["id"]) != one["id"]:
            raise RefusedError(f"the added token {ascii(content)[:40]} has another id in `model.vocab`")
    if len({one["content"] for one in added}) != len(added) or len({one["id"] for one in added}) != len(added):
        raise RefusedError("two added tokens are the same, or have the same id")
    return [
        {"id": one["id"], "content": one["content"], **{key: one.get(key) is True for key in flags}} for one in added
    ]


def _marked(content: str) -> bool:
    return not {MARK, END_MARK, GUARD}.isdisjoint(content)


def mark(token_id: int) -> str:
    """The name of a special token for the native library."""
    return f"{MARK}{token_id}{END_MARK}"


def _native(
    found: Json,
    model: Json,
    vocab: Mapping[str, int],
    merges: Sequence[Sequence[str]],
    added: Sequence[Json],
    special: Mapping[str, int],
) -> Json:
    """The file with names for special tokens, without merges that spell one, and without what adds or drops tokens."""
    names = {content: mark(token_id) for content, token_id in special.items()}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    known = {one["content"] for one in added}
    tokens = [
        {**one, "content": names.get(one["content"], one["content"]), "special": one["content"] in names}
        for one in added
    ]
    tokens += [{"id": special[one], "content": names[one], **flags} for one in special if one not in known]
    unknown = model.get("unk_token")
    return {
        **found,
        "added_tokens": sorted(tokens, key=lambda one: int(one["id"])),
        "truncation": None,
        "padding": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            **model,
            "type": "BPE",
            "dropout": None,
            "unk_token": names.get(unknown, unknown) if isinstance(unknown, str) else None,
            "vocab": {names.get(piece, piece): token_id for piece, token_id in vocab.items()},
            "merges": [pair for pair in merges if names.keys().isdisjoint((*pair, pair[0] + pair[1]))],
        },
    }
