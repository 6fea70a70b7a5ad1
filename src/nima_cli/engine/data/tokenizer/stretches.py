"""Where a text can be cut so that its parts can be encoded one by one, for tokenizers of other models.

A byte-pair encoding never joins what its pre-tokenizer has split. The patterns below, of GPT-2 (Radford et al., 2019)
and of those after it, split at the places given beside them in every text, whatever stands around; other patterns may
not, so texts for them are not cut.
"""

import re
from collections.abc import Iterable
from typing import Any

from nima_cli.engine.data.tokenizer.hf_steps import Json


def _cutting(at: str) -> re.Pattern[str]:
    """Stretches of white space and what follows it, as far as the white space after that is not `at` a cut."""
    return re.compile(rf"\s*\S+(?:(?!{at})\s+\S+)*(?:(?!{at})\s+\Z)?|\s+")


# Cuts are before a space that follows anything but white space, and before line ends and tabs that do: after any sign,
# or only after letters and digits where signs take line ends with them.
_BEFORE_SPACE = _cutting(r"[ \n\t]")
_BEFORE_BLANK = _cutting(r" |(?<=[A-Za-z0-9])[\n\t]")
_BEFORE_WORD = re.compile(" *[^ ]+| +")

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SIGNS_AND_SPACE = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
    r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": _BEFORE_SPACE,  # GPT-2
    f"{_ENDINGS}|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}{{1,3}}{_SIGNS_AND_SPACE}": _BEFORE_BLANK,  # Llama 3
    f"{_ENDINGS}|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|\\p{{N}}{_SIGNS_AND_SPACE}": _BEFORE_BLANK,  # Qwen2, Qwen3
    _CASED % (f"{_ENDINGS}?", f"{_ENDINGS}?", "{1,3}"): _BEFORE_BLANK,  # GPT-4o
    _CASED % ("", "", ""): _BEFORE_BLANK,  # Mistral's Tekken
}


# Splits that are done before these, as is the step `Digits`.
_DIGITS = (r"\p{N}", r"\p{N}{1,3}", r"\d", "[0-9]")
_SPANNING = re.compile("[^\u2581]\u2581")
# As SentencePiece: a space before the text, and a mark for every space.
_SPACES_MARKED = [
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
]


def stretches(file: Json) -> re.Pattern[str] | None:
    """A pattern that finds the parts of a text, each but the first from a space or line end on; None to cut nowhere.

    Args:
        file: a checked `tokenizer.json`.
    """
    if any(_crossing(token) for token in file["added_tokens"]):
        return None
    normal, steps = _parts(file.get("normalizer"), "normalizers"), _parts(file.get("pre_tokenizer"), "pretokenizers")
    if normal in (_SPACES_MARKED, _SPACES_MARKED[1:]) and not steps:
        return _of_pieces(file["model"])
    if normal not in ([], [{"type": "NFC"}]):
        return None
    if [step["type"] for step in steps] == ["Metaspace"]:
        return _BEFORE_WORD if steps[0].get("split", True) else _of_pieces(file["model"])
    return _of_steps(steps)


def _of_pieces(model: Json) -> re.Pattern[str] | None:
    """Without a pre-tokenizer, a piece may span words; only the pieces tell whether one does."""
    whole = model.get("ignore_merges") or any(map(_SPANNING.search, model["vocab"]))
    return None if whole else _BEFORE_WORD


def _of_steps(steps: list[Json]) -> re.Pattern[str] | None:
    """Cuts for pre-tokenizers: digits may be split off first, then one pattern, then bytes."""
    found: re.Pattern[str] | None = None
    for step in steps:
        pattern = _isolated(step)
        if pattern is not None and found is None:
            found = _PATTERNS.get(pattern)
            if found is None and pattern not in _DIGITS:
                return None
        elif step["type"] == "ByteLevel" and step is steps[-1] and not step.get("add_prefix_space", True):
            if step.get("use_regex", True):
                found = _BEFORE_SPACE if found is None else None
            return found
        elif step["type"] != "Digits" or found is not None:
            return None
    return None


def _isolated(step: Json) -> str | None:
    """The pattern that a step splits off from what is around it."""
    isolates = step["type"] == "Split" and step.get("behavior") == "Isolated" and not step.get("invert")
    return (step.get("pattern") or {}).get("Regex") if isolates else None


def _parts(found: Any, key: str) -> list[Json]:
    """The steps in a sequence or a single step."""
    if found is None:
        return []
    return found[key] if found.get("type") == "Sequence" else [found]


def _crossing(token: Json) -> bool:
    """Whether an added token lies across a cut, or its place depends on what is around it."""
    flags: Iterable[str] = ("single_word", "lstrip", "rstrip")
    return not token["special"] and (any(token[flag] for flag in flags) or bool(re.search(r"\S\s", token["content"])))
