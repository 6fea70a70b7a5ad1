"""Which documents are worth learning from, by figures anybody can recompute; pure functions, knows no files or tokens.

The ideas: length, repetition and symbol ratios from Gopher (Rae et al. 2021, "Scaling Language Models", appendix A1.1),
lines that many pages share from C4 (Raffel et al. 2020, section 2.2). Their thresholds were set for web pages;
technical text repeats itself and is full of symbols, so every filter but the least length is off until asked for.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.dedup.words import words
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import Document, Turn

RUN_WORDS = 10
# A line is boilerplate from so many documents of a source on, and from that share of them on.
BOILERPLATE_DOCUMENTS = 10
BOILERPLATE_SHARE = 0.05
_LINE_BYTES = 12
_MIN_LINE = 12
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
# With the punctuation of scripts that are as wide as they are high.
_SIGNS = frozenset(" \t\n.,;:!?'\"()-_/\u3000、。〈〉《》「」『』【】・，．：；！？（）")


def verdict(document: Document, config: DataConfig) -> Diagnostic | None:
    """Why the document is left out, with its figures; None if it is kept.

    Reasons: `no_loss` (messages of weight 0, and others that `loss` leaves out), `too_short`, `too_long` (characters
    without surrounding white space), `repetitive`, `non_text`.
    """
    if document.turns and not any(turn.weight and _carries_loss(turn, config) for turn in document.turns):
        return _out(document, "holds no message that carries loss", "no_loss")
    length = content_length(document)
    if length < config.min_length:
        return _out(document, f"has {length} characters", "too_short", characters=length)
    if config.max_characters is not None and length > config.max_characters:
        return _out(document, f"has {length} characters", "too_long", characters=length)
    text = content(document)
    if config.max_repetition is not None and (share := repetition(text)) > config.max_repetition:
        return _out(document, f"repeats {share:.0%} of itself", "repetitive", repetition=share)
    if config.max_non_text is not None and (share := non_text(text)) > config.max_non_text:
        return _out(document, f"{share:.0%} of it is no language", "non_text", non_text=share)
    return None


def _carries_loss(turn: Turn, config: DataConfig) -> bool:
    return turn.role == "assistant" or config.loss == "all"


def _out(document: Document, what: str, reason: str, **figures: float) -> Diagnostic:
    return Diagnostic(document.where, what, reason, figures=tuple((name, round(x, 4)) for name, x in figures.items()))


def content(document: Document) -> str:
    """All that the document says, turns one below the other."""
    return document.text or "\n".join(turn.content for turn in document.turns)


def content_length(document: Document) -> int:
    """Characters of content, without white space around it."""
    return len(document.text.strip()) + sum(len(turn.content.strip()) for turn in document.turns)


def repetition(text: str) -> float:
    """The share of the characters in lines, or of the words in runs of `RUN_WORDS`, that occurred before; the larger.

    After Gopher's "fraction of characters in duplicate lines" and "duplicate 10-grams".
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return max(_repeated_lines(lines), _repeated_runs(words(text)))


def _repeated_lines(lines: list[str]) -> float:
    seen: set[str] = set()
    repeated = 0
    for line in lines:
        repeated += len(line) if line in seen else 0
        seen.add(line)
    return repeated / max(sum(map(len, lines)), 1)


def _repeated_runs(said: list[str]) -> float:
    """The share of the words that lie in a run that occurred before."""
    seen: set[tuple[str, ...]] = set()
    repeated = covered = 0
    for start in range(len(said) - RUN_WORDS + 1):
        run = tuple(said[start : start + RUN_WORDS])
        if run in seen:
            repeated += start + RUN_WORDS - max(covered, start)
            covered = start + RUN_WORDS
        seen.add(run)
    return repeated / max(len(said), 1)


def non_text(text: str) -> float:
    """The share of the characters that are neither letters, digits, spaces nor common punctuation, or are in blobs.

    A blob is a run of 40 and more characters as in base64 that mixes cases and digits; no word of a language does.
    """
    if not text:
        return 0.0
    blobs = sum(len(blob) for blob in _BLOB.findall(text) if _mixed(blob))
    signs = sum(n for character, n in Counter(text).items() if not _is_language(character))
    return min((signs + blobs) / len(text), 1.0)


def _is_language(character: str) -> bool:
    """Marks count: they are the vowels of many scripts."""
    return character.isalnum() or character in _SIGNS or unicodedata.category(character)[0] == "M"


def _mixed(blob: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    return all(any(kind(character) for character in blob) for kind in kinds)


def _line_keys(document: Document) -> dict[bytes, int]:
    """Hash -> characters, of the lines that are long enough to mean something."""
    keys: dict[bytes, int] = {}
    for line in content(document).split("\n"):
        plain = " ".join(line.split())
        if len(plain) >= _MIN_LINE:
            key = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=_LINE_BYTES).digest()
            keys[key] = keys.get(key, 0) + len(plain)
    return keys


@dataclass(slots=True)
class LineCounts:
    """In how many documents of one source each line occurs; order of counting has no influence.

    Attributes:
        documents: how many were counted.
    """

    documents: int = 0
    _lines: Counter[bytes] = field(default_factory=Counter)

    def add(self, document: Document) -> None:
        """Count the lines of one document, each once."""
        self.documents += 1
        self._lines.update(_line_keys(document).keys())

    def merge(self, other: "LineCounts") -> None:
        """Add what another one counted, for the same source."""
        self.documents += other.documents
        self._lines.update(other._lines)

    def boilerplate(self) -> frozenset[bytes]:
        """The lines of so many documents that they are no content, such as a footer."""
        least = max(BOILERPLATE_DOCUMENTS, self.documents * BOILERPLATE_SHARE)
        return frozenset(key for key, count in self._lines.items() if count >= least)


def boilerplate_verdict(document: Document, lines: frozenset[bytes], config: DataConfig) -> Diagnostic | None:
    """Why a document that says little of its own is left out; None if it is kept.

    Args:
        lines: the boilerplate of its source, see `LineCounts.boilerplate`.
    """
    if config.max_boilerplate is None or not lines:
        return None
    keys = _line_keys(document)
    share = sum(size for key, size in keys.items() if key in lines) / max(sum(keys.values()), 1)
    if share <= config.max_boilerplate:
        return None
    return _out(document, f"{share:.0%} of it is lines that very many share", "boilerplate", boilerplate=share)
