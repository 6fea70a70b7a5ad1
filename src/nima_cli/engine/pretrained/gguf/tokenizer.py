"""Writes the tokenizer of a GGUF file as the files that Hugging Face's `tokenizers` and transformers read.

transformers has a converter too, but it splits text before merging in one way for nearly all models, and puts a space
before text whatever the file says: other ids than the model was trained with.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from nima_cli.engine.pretrained.strict import damaged, show
from nima_cli.errors import CheckpointError

Json = dict[str, Any]

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)  # the types of tokens, as in SentencePiece
_SPACE_MARK = "\u2581"
_LONGEST_PIECE = 256  # characters of a piece whose merges are searched for
_SPECIAL = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
_ENDS = ("eos", "eot", "eom")  # of a text, a turn, a message

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Patterns that text is split by, one after the other, before pairs are merged, by `tokenizer.ggml.pre`.
SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "olmo"), (_GPT2,)),
    **dict.fromkeys(("smollm", "starcoder", "refact"), (r"\p{N}", _GPT2)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "smaug-bpe"), (_LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), (_QWEN2,)),
    "tekken": (_TEKKEN,),
}
WHOLE_WORDS_FIRST = {"llama-bpe", "llama3", "llama-v3", "falcon3", "tekken"}  # and a text begins with BOS by default


def read_tokenizer(metadata: Mapping[str, Any], where: str) -> dict[str, str]:
    """The texts of `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.

    Raises:
        CheckpointError: there is no tokenizer, or one that nima does not know.
    """
    vocabulary = _Vocabulary(metadata, where)
    config: Json = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": vocabulary.begins_with_bos,
        **{name: vocabulary.special(key) for name, key in _SPECIAL.items() if vocabulary.id(key) is not None},
    }
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        config["chat_template"] = template
    ends = [found for key in _ENDS if (found := vocabulary.id(key)) is not None]
    generation: Json = {
        "bos_token_id": vocabulary.id("bos"),
        "eos_token_id": list(dict.fromkeys(ends)),
        "pad_token_id": vocabulary.id("padding"),
    }
    texts = {
        "tokenizer.json": vocabulary.json(),
        "tokenizer_config.json": config,
        "generation_config.json": {key: value for key, value in generation.items() if value not in (None, [])},
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in texts.items()}


class _Vocabulary:
    """The tokens of a file with what is said about them, and how text becomes tokens."""

    def __init__(self, metadata: Mapping[str, Any], where: str) -> None:
        self._metadata, self._where = metadata, where
        self.kind = self._get("model", "")
        if self.kind not in ("gpt2", "llama"):
            raise self._unsupported("model", self.kind, "gpt2 and llama")
        self.tokens: list[str] = self._list("tokens", str)
        self.types: list[int] = self._list("token_type", int, len(self.tokens))
        twice = [token for token, times in Counter(self.tokens).items() if times > 1]
        if twice:
            raise damaged(where, f"the token {show(twice[0])} occurs twice")
        self._pre = self._get("pre", "")
        if self.kind == "gpt2" and (not isinstance(self._pre, str) or self._pre not in SPLITS):
            raise self._unsupported("pre", self._pre, ", ".join(SPLITS))

    def _get(self, name: str, default: Any) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{name}", default)

    def _unsupported(self, name: str, value: object, expected: str) -> CheckpointError:
        return CheckpointError(f"{self._where}: `tokenizer.ggml.{name}` is {show(value)}; nima reads {expected}")

    def _list(self, name: str, kind: type, length: int | None = None) -> list[Any]:
        values = self._get(name, None)
        if not isinstance(values, list) or not values or type(values[0]) is not kind:
            raise damaged(self._where, f"`tokenizer.ggml.{name}` is missing, or of another kind")
        if length not in (None, len(values)):
            raise damaged(self._where, f"`tokenizer.ggml.{name}` has {len(values):,} values for {length:,} tokens")
        return values

    def id(self, name: str) -> int | None:
        """The id of the token with this part; None if there is none."""
        found = self._get(f"{name}_token_id", None)
        if found is not None and (type(found) is not int or not 0 <= found < len(self.tokens)):
            count = f"{len(self.tokens):,} tokens"
            raise damaged(self._where, f"`tokenizer.ggml.{name}_token_id` is {show(found)}, there are {count}")
        return found

    def special(self, name: str) -> str | None:
        """The text of the token with this part."""
        found = self.id(name)
        return self.tokens[found] if found is not None else None

    @property
    def begins_with_bos(self) -> bool:
        """Whether each text begins with BOS."""
        return bool(self._get("add_bos_token", self.kind == "llama" or self._pre in WHOLE_WORDS_FIRST))

    def json(self) -> Json:
        """The contents of `tokenizer.json`."""
        if self.kind == "gpt2":
            byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
            splits = [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
                for pattern in SPLITS[self._pre]
            ]
            normalizer, decoder = None, byte_level
            pre_tokenizer = {"type": "Sequence", "pretokenizers": [*splits, byte_level]}
        else:
            pre_tokenizer, (normalizer, decoder) = None, self._spaces()
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added(),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": self._post_processor(),
            "decoder": decoder,
            "model": self._model(),
        }

    def _spaces(self) -> tuple[Json, Json]:
        """How SentencePiece marks spaces, and puts one before a text or does not; and the way back."""
        prefix = bool(self._get("add_space_prefix", True))
        mark = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE_MARK}
        before = [{"type": "Prepend", "prepend": _SPACE_MARK}] if prefix else []
        back = {"type": "Replace", "pattern": {"String": _SPACE_MARK}, "content": " "}
        after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
        decoders = [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *after]
        return {"type": "Sequence", "normalizers": [*before, mark]}, {"type": "Sequence", "decoders": decoders}

    def _added(self) -> list[Json]:
        """The tokens that are found in text before anything else; those of control are special."""
        kinds = (_CONTROL, _USER) if self.kind == "gpt2" else (_UNKNOWN, _CONTROL, _USER)
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return [
            {"id": token_id, "content": token, **flags, "special": kind != _USER}
            for token_id, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in kinds
        ]

    def _post_processor(self) -> Json | None:
        token_id = self.id("bos")
        if not self.begins_with_bos or token_id is None:
            return None
        bos = self.tokens[token_id]
        begin: Json = {"SpecialToken": {"id": bos, "type_id": 0}}
        first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        return {
            "type": "TemplateProcessing",
            "single": [begin, first],
            "pair": [begin, first, second],
            "special_tokens": {bos: {"id": bos, "ids": [token_id], "tokens": [bos]}},
        }

    def _model(self) -> Json:
        """Merges of pairs; tokens that only fill up the embedding are left out."""
        byte_level = self.kind == "gpt2"
        merges = self._given_merges() if byte_level else self._merges_by_score()
        parts = {part for merge in merges for part in (*merge, "".join(merge))}
        vocab = {
            token: token_id
            for token_id, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind != _UNUSED or token in parts
        }
        missing = next((part for part in parts if part not in vocab), None)
        if missing is not None:
            raise damaged(self._where, f"`tokenizer.ggml.merges` needs {show(missing)}, which is no token")
        return {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if byte_level else self.special("unknown"),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": not byte_level,
            "byte_fallback": not byte_level,
            "ignore_merges": self._pre in WHOLE_WORDS_FIRST,
            "vocab": vocab,
            "merges": merges,
        }

    def _given_merges(self) -> list[list[str]]:
        merges = [merge.split(" ") for merge in self._list("merges", str)]
        wrong = next((merge for merge in merges if len(merge) != 2), None)
        if wrong is not None:
            raise damaged(self._where, f"`tokenizer.ggml.merges` has {show(' '.join(wrong))}, which is no pair")
        return merges

    def _merges_by_score(self) -> list[list[str]]:
        """All ways to make a piece of two, in the order of the pieces' scores, as SentencePiece merges."""
        scores = self._list("scores", float, len(self.tokens))
        pieces = {
            token: -score
            for token, kind, score in zip(self.tokens, self.types, scores, strict=True)
            if kind in (_NORMAL, _USER)
        }
        longest = max(map(len, pieces), default=0)
        if longest > _LONGEST_PIECE:
            raise damaged(self._where, f"a token of {longest:,} characters, nima reads those of {_LONGEST_PIECE}")
        ordered = sorted((token for token in pieces if len(token) > 1), key=pieces.__getitem__)
        cuts = ([token[:at], token[at:]] for token in ordered for at in range(1, len(token)))
        return [cut for cut in cuts if cut[0] in pieces and cut[1] in pieces]
