"""Says a Hugging Face tokenizer in GGUF, or refuses one whose text llama.cpp would split otherwise.

llama.cpp knows byte-level BPE as `gpt2`, with merges and a name for the patterns that split a text before pairs are
merged, and SentencePiece's BPE as `llama`, with a score for each piece instead of merges.
"""

import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import bundle
from nima_cli.engine.data.tokenizer.sentencepiece_file import SPACE_MARK
from nima_cli.engine.export import verify
from nima_cli.engine.export.hf_files import chat_template
from nima_cli.engine.pretrained.gguf.header import read_header
from nima_cli.engine.pretrained.gguf.tokenizer import SPLITS, WHOLE_WORDS_FIRST, read_tokenizer
from nima_cli.errors import CheckpointError

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)
_GPT2 = SPLITS["gpt-2"]
# The first name for each way to split. Of whole words that are tokens some vocabularies merge nothing.
_NAMES = {(splits, name in WHOLE_WORDS_FIRST): name for name, splits in reversed(SPLITS.items())}
_NFC = "llama.cpp does not compose characters (NFC), as the tokenizer of this model does: other ids for the same text"
_SPACE_ONCE = "llama.cpp puts a space before text after every special token, this tokenizer at the beginning only"
_SPELLED = "llama.cpp reads text that spells {} as the special token"
_TURNS = (Turn("user", "x"), Turn("assistant", "y"))


def keys_of(tokenizer: HFTokenizer, rows: int, where: str) -> dict[str, Any]:
    """The keys of a vocabulary, filled up with unused tokens to so many rows; raises `CheckpointError`."""
    return _HFVocabulary(tokenizer, where).keys(rows)


class _HFVocabulary:
    """A `tokenizer.json`, which has been checked when it was loaded."""

    def __init__(self, tokenizer: HFTokenizer, where: str) -> None:
        self._tokenizer, self._where = tokenizer, where
        self._file = json.loads(tokenizer.files["tokenizer.json"])
        self._model = self._file["model"]
        self._added = {token["id"]: token["content"] for token in self._file.get("added_tokens") or []}
        self._pieces = {token_id: piece for piece, token_id in self._model["vocab"].items()} | self._added
        self._unknown = self._model["vocab"].get(self._model.get("unk_token"))

    def keys(self, rows: int) -> dict[str, Any]:
        """See `keys_of`."""
        tokens = [self._pieces.get(token_id, f"[PAD{token_id}]") for token_id in range(rows)]
        if len(set(tokens)) < rows:
            twice = next(token for number, token in enumerate(tokens) if token in tokens[:number])
            raise self._refused(f"it has the token {twice!r} twice")
        how = self._byte_level() if self._is_byte_level else self._by_scores(tokens)
        return {
            **how,
            "token_list": tokens,
            "token_types": [self._type(token_id) for token_id in range(rows)],
            **self._special_ids(),
            "chat_template": chat_template(self._tokenizer),
        }

    def _refused(self, problem: str) -> CheckpointError:
        return CheckpointError(
            f"{self._where}: this tokenizer cannot be said in GGUF: {problem}", hint="use `format=hf`, or `safetensors`"
        )

    @property
    def _normalizer(self) -> list[str]:
        return [step["type"] for step in _steps(self._file.get("normalizer"), "normalizers")]

    @property
    def composes(self) -> bool:
        """Whether it composes characters (NFC) before it splits a text."""
        return "NFC" in self._normalizer

    @property
    def _is_byte_level(self) -> bool:
        return any(step["type"] == "ByteLevel" for step in _steps(self._file.get("pre_tokenizer"), "pretokenizers"))

    def _type(self, token_id: int) -> int:
        if token_id not in self._pieces:
            return _UNUSED
        if not self._is_byte_level and token_id == self._unknown:
            return _UNKNOWN
        if token_id in self._tokenizer.special_ids:
            return _CONTROL
        if token_id in self._added:
            return _USER
        return _BYTE if not self._is_byte_level and _is_byte(self._pieces[token_id]) else _NORMAL

    def _byte_level(self) -> dict[str, Any]:
        """Merges, and the name of how text is split before."""
        strange = [kind for kind in self._normalizer if kind != "NFC"]
        if strange:
            raise self._refused(f"its normalizer has the step {strange[0]!r}, which llama.cpp does not know")
        splits = tuple(self._splits())
        name = _NAMES.get((splits, self._model.get("ignore_merges") is True))
        if name is None:
            shown = " then ".join(splits)[:200]
            raise self._refused(f"llama.cpp has no name for how it splits text: {shown}")
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in self._model["merges"])
        merges = [" ".join(pair) for pair in pairs]
        return {"tokenizer_model": "gpt2", "tokenizer_pre": name, "token_merges": merges, "add_space_prefix": False}

    def _splits(self) -> Iterator[str]:
        """The patterns that text is split by."""
        for step in _steps(self._file["pre_tokenizer"], "pretokenizers"):
            kind = step["type"]
            if kind == "Split" and "Regex" in step["pattern"] and _isolates(step):
                yield step["pattern"]["Regex"]
            elif kind == "Digits" and step.get("individual_digits"):
                yield r"\p{N}"
            elif kind == "ByteLevel" and not step.get("add_prefix_space", True):
                if step.get("use_regex", True):
                    yield from _GPT2
            else:
                raise self._refused(f"its pre_tokenizer has a step {kind!r} that llama.cpp does not know")

    def _by_scores(self, tokens: Sequence[str]) -> dict[str, Any]:
        """Scores in the order of the merges, if these are all ways to make a piece of two, as in SentencePiece."""
        if not self._model.get("byte_fallback") or self._model.get("ignore_merges"):
            raise self._refused("it is neither byte-level BPE nor SentencePiece's BPE with bytes for other characters")
        normal = {piece for token_id, piece in self._pieces.items() if self._type(token_id) == _NORMAL}
        pairs = (tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in self._model["merges"])
        merges = [(left, right) for left, right in pairs if left + right in normal]
        made = [piece for piece, _ in itertools.groupby(left + right for left, right in merges)]
        cuts = ((piece[:cut], piece[cut:]) for piece in normal for cut in range(1, len(piece)))
        expected = {cut for cut in cuts if cut[0] in normal and cut[1] in normal}
        if len(set(made)) < len(made) or set(merges) != expected:
            raise self._refused("its merges are not those of SentencePiece, which llama.cpp would make of its pieces")
        order = {piece: -float(number) for number, piece in enumerate(made, start=1)}
        return {
            "tokenizer_model": "llama",
            "tokenizer_pre": "default",
            "token_scores": [order.get(token, 0.0) for token in tokens],
            "add_space_prefix": self.space_prefix() != "never",
            "remove_extra_whitespaces": False,
        }

    def space_prefix(self) -> str:
        """Where a space is put before text: always, first (only at the beginning), or never."""
        normalizer = list(_steps(self._file.get("normalizer"), "normalizers"))
        before = list(_steps(self._file.get("pre_tokenizer"), "pretokenizers"))
        mark = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
        prepend = {"type": "Prepend", "prepend": SPACE_MARK}
        if not before and normalizer in ([prepend, mark], [mark]):
            return "always" if prepend in normalizer else "never"
        if not normalizer and [step["type"] for step in before] == ["Metaspace"]:
            (step,) = before
            if step.get("replacement") == SPACE_MARK and not step.get("split", True):
                return "always" if step.get("prepend_scheme") is None else str(step["prepend_scheme"])
        raise self._refused("it marks spaces in a way that llama.cpp does not know")

    def _special_ids(self) -> dict[str, Any]:
        """The ids of special tokens; what a model ends with is the end of a text, of a turn, or of a message."""
        own = self._tokenizer
        bos, eos, pad, unknown = (own.symbol_id(f"{name}_token") for name in ("bos", "eos", "pad", "unk"))
        eos = own.eos_id if eos is None else eos
        turn = [one for one in own.chat.render(_TURNS, loss="all").ids if one in own.chat.end_ids]
        eot = turn[-1] if turn else eos
        more = sorted(own.chat.end_ids - {eos, eot})
        found = {
            "bos_token_id": own.bos_id if bos is None else bos,
            "eos_token_id": eos,
            "eot_token_id": eot,
            "eom_token_id": more[0] if more else None,
            "pad_token_id": pad,
            "unk_token_id": self._unknown if unknown is None else unknown,
        }
        return {key: value for key, value in found.items() if value is not None} | {
            "add_bos_token": own.first_id == found["bos_token_id"],
            "add_eos_token": False,
        }


def limits(tokenizer: HFTokenizer, vocabulary: Mapping[str, Any]) -> list[str]:
    """What llama.cpp does otherwise with this vocabulary than the tokenizer."""
    found = _HFVocabulary(tokenizer, "")
    if vocabulary["tokenizer_model"] == "gpt2":
        return [_NFC] if found.composes else []
    said = [_SPACE_ONCE] if found.space_prefix() == "first" else []
    normal = set(vocabulary["token_list"])
    spelled = [
        piece
        for piece in map(tokenizer.piece, sorted(tokenizer.special_ids))
        if any(piece[:cut] in normal and piece[cut:] in normal for cut in range(1, len(piece)))
    ]
    return said + ([_SPELLED.format(", ".join(f"`{piece}`" for piece in spelled))] if spelled else [])


def check_reading(path: Path, tokenizer: HFTokenizer, where: str) -> str:
    """Compare the ids that nima's own reader of GGUF gives with the tokenizer's; returns what was compared."""
    with path.open("rb") as file:
        files = read_tokenizer(read_header(file).metadata, where)
    again = HFTokenizer.from_bytes(bundle(files), where=where)
    composed = _HFVocabulary(tokenizer, where).composes
    count = 0
    for text, ids in verify.encodings(tokenizer).items():
        if not composed or unicodedata.is_normalized("NFC", text):
            verify.compare(again.encode(text), ids, where, f"the ids of {text!r}")
            count += 1
    return f", the same ids for {count} texts"


def _steps(found: Any, key: str) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, one or a sequence."""
    if found is not None:
        yield from (step for one in found.get(key, [found]) for step in (_steps(one, key) if key in one else [one]))


def _isolates(step: Mapping[str, Any]) -> bool:
    """Whether a split keeps what its pattern finds as pieces, said in one of two ways."""
    return (step.get("behavior"), step.get("invert", False)) in (("Isolated", False), ("Removed", True))


def _is_byte(piece: str) -> bool:
    return re.fullmatch("<0x[0-9A-F]{2}>", piece) is not None
