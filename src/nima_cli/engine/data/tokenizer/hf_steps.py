"""The steps of a `tokenizer.json`: what is done to a text before it is cut into tokens, and how these spell bytes."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MAX_STEPS, _MAX_SECTION, _MAX_PATTERN = 64, 2**18, 2000
_BYTE_PIECE = re.compile("<0x([0-9A-Fa-f]{2})>")
# In patterns: escapes and classes of characters, which repeat nothing by themselves.
_NO_REPETITION = re.compile(r"\\[pP]\{[^}]*\}|\\[^1-9gk]|\[(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]", re.DOTALL)
# Groups without a choice or an unbounded repetition are as good as one character.
_PLAIN_GROUP = re.compile(r"\((?:\?(?:[:>]|<?[=!]|[imsx]+:))?[^()|*+?{}]*(?:\{\d+\})?[^()|*+?{}]*\)")
# A repeated group, or a reference to one, can take exponential time.
_SLOW = re.compile(r"\)[*+{]|\\[1-9gk]")
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")
_MAX_UNBOUNDED = 3

Json = dict[str, Any]


class RefusedError(Exception):
    """Why a tokenizer file is refused."""


def _steps(found: Any) -> Iterator[Json]:
    """The steps of a normalizer, pre-tokenizer, decoder or post-processor, out of their sequences."""
    waiting, seen = [found], 0
    while waiting:
        step = waiting.pop()
        seen += 1
        if seen > _MAX_STEPS:
            raise RefusedError(f"it has more than {_MAX_STEPS} steps")
        if step is None:
            continue
        if not isinstance(step, dict) or not isinstance(step.get("type"), str):
            raise RefusedError("a step has no `type`")
        if step["type"] != "Sequence":
            yield step
            continue
        inside = [step[key] for key in ("normalizers", "pretokenizers", "decoders", "processors") if key in step]
        if len(inside) != 1 or not isinstance(inside[0], list):
            raise RefusedError("a sequence of steps is no list")
        waiting += reversed(inside[0])


def check_steps(found: Any, section: str) -> None:
    """Refuse tables that only native code can check, and patterns that some text makes slow."""
    if len(json.dumps(found)) > _MAX_SECTION:
        raise RefusedError(f"its {section} is too long")
    for step in _steps(found):
        if step["type"] == "Precompiled":
            raise RefusedError(f"its {section} has a compiled table of characters")
        pattern = step.get("pattern")
        if isinstance(pattern, dict) and "Regex" in pattern:
            _check_pattern(pattern["Regex"], section)


def _check_pattern(pattern: Any, section: str) -> None:
    if not isinstance(pattern, str) or len(pattern) > _MAX_PATTERN:
        raise RefusedError(f"a pattern of its {section} is too long, or no text")
    skeleton, before = _NO_REPETITION.sub("x", pattern), ""
    while skeleton != before:
        skeleton, before = _PLAIN_GROUP.sub("x", skeleton), skeleton
    if _SLOW.search(skeleton) or any(len(_UNBOUNDED.findall(one)) > _MAX_UNBOUNDED for one in skeleton.split("|")):
        raise RefusedError(f"a pattern of its {section} could take for ever: {pattern[:60]!a}")


@dataclass(slots=True)
class Decoding:
    """How tokens spell bytes."""

    byte_level: bool = False
    byte_pieces: bool = False
    space: str = ""

    def bytes_of(self, piece: str) -> bytes:
        if self.byte_level:
            try:
                return bytes([_BYTE_OF[character] for character in piece])
            except KeyError:
                return piece.encode()
        if self.byte_pieces and (byte := _BYTE_PIECE.fullmatch(piece)):
            return bytes.fromhex(byte[1])
        return (piece.replace(self.space, " ") if self.space else piece).encode()


def decoding_of(found: Any) -> Decoding:
    decoding, kinds = Decoding(), set[str]()
    for step in _steps(found):
        kinds.add(step["type"])
        if step["type"] == "ByteLevel":
            decoding.byte_level = True
        elif step["type"] == "ByteFallback":
            decoding.byte_pieces = True
        elif step["type"] == "Metaspace":
            decoding.space = step.get("replacement", "\u2581")
        elif step["type"] == "Replace" and step.get("content") == " " and isinstance(step.get("pattern"), dict):
            decoding.space = step["pattern"].get("String", "")
        elif step["type"] not in ("Fuse", "Strip"):  # `leading_space` says what is to be stripped
            raise RefusedError(f"its decoder has a step {ascii(step['type'])[:40]} that nima does not know")
    if not kinds or not isinstance(decoding.space, str):
        raise RefusedError("its decoder does not say how tokens are joined")
    return decoding


def leading_space(found: Json) -> str:
    for step in _steps(found.get("normalizer")):
        if step["type"] == "Prepend":
            return "always"
    for step in _steps(found.get("pre_tokenizer")):
        metaspace = step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never"
        if (metaspace or step["type"] == "ByteLevel") and step.get("add_prefix_space", True):
            return "missing"
    return ""


def _byte_alphabet() -> dict[str, int]:
    """The byte that each character stands for in byte-level vocabularies (Radford et al., GPT-2, 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def first_token(found: Any) -> str | None:
    """The special token that a post-processor puts before a text."""
    for step in _steps(found):
        single = step.get("single") if step["type"] == "TemplateProcessing" else None
        first = single[0] if isinstance(single, list) and single else None
        if isinstance(first, dict) and isinstance(token := first.get("SpecialToken"), dict):
            name = token.get("id")
            return name if isinstance(name, str) else None
    return None
