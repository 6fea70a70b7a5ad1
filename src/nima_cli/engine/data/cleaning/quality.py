"""Decides which documents are worth learning from.

Length, repetition (in duplicate lines and 10-grams) and symbol ratios are from Gopher (Rae et al. 2021, "Scaling
Language Models", appendix A1.1), lines that many pages share from C4 (Raffel et al. 2020, section 2.2). Technical text
repeats itself and is full of symbols, so every filter but the least length is off by default.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.dedup.near_duplicates import words
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import Document

RUN_WORDS = 10
# A line is boilerplate if at least so many documents of a source have it, and that share of them.
BOILERPLATE_DOCUMENTS = 10
BOILERPLATE_SHARE = 0.05
_LINE_BYTES = 12
_MIN_LINE = 12
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
# Common punctuation, with that of East Asian scripts.
_SIGNS = frozenset(" \t\n.,;:!?'\"()-_/\u3000、。〈〉《》「」『』【】・，．：；！？（）")


def quality_problem(document: Document, config: DataConfig) -> Diagnostic | None:
    """Why the document is left out, with the figures behind it; None if it is kept."""
    if document.turns and not any(
        turn.weight and (turn.role == "assistant" or config.loss == "all") for turn in document.turns
    ):
        return Diagnostic(document.where, "holds no message that carries loss", "no_loss")
    length = len(document.text.strip()) + sum(len(turn.content.strip()) for turn in document.turns)
    if length < config.min_length:
        return _problem(document, "has {} characters", "too_short", "characters", length)
    if config.max_characters is not None and length > config.max_characters:
        return _problem(document, "has {} characters", "too_long", "characters", length)
    text = _content(document)
    if config.max_repetition is not None and (share := repetition(text)) > config.max_repetition:
        return _problem(document, "repeats {:.0%} of itself", "repetitive", "repetition", share)
    if config.max_non_text is not None and (share := non_text(text)) > config.max_non_text:
        return _problem(document, "{:.0%} of it is no language", "non_text", "non_text", share)
    return None


def _problem(document: Document, what: str, reason: str, figure: str, value: float) -> Diagnostic:
    return Diagnostic(document.where, what.format(value), reason, figures=((figure, round(value, 4)),))


def _content(document: Document) -> str:
    return document.text or "\n".join(turn.content for turn in document.turns)


def repetition(text: str) -> float:
    """The larger share: of characters in lines, or of words in runs of `RUN_WORDS`, that occurred before."""
    lines = Counter(line.strip() for line in text.split("\n"))
    repeated_lines = sum(len(line) * (count - 1) for line, count in lines.items())
    total = sum(len(line) * count for line, count in lines.items())
    said = words(text)
    seen: set[tuple[str, ...]] = set()
    repeated_words = covered = 0
    for start in range(len(said) - RUN_WORDS + 1):
        run = tuple(said[start : start + RUN_WORDS])
        if run in seen:
            repeated_words += start + RUN_WORDS - max(covered, start)
            covered = start + RUN_WORDS
        seen.add(run)
    return max(repeated_lines / max(total, 1), repeated_words / max(len(said), 1))


def non_text(text: str) -> float:
    """The share of the characters that are neither letters, digits, spaces nor common punctuation, or are in blobs.

    A blob is a run of 40 and more characters as in base64 that mixes cases and digits.
    """
    blobs = sum(
        len(blob)
        for blob in _BLOB.findall(text)
        if all(any(map(kind, blob)) for kind in (str.islower, str.isupper, str.isdigit))
    )
    signs = sum(
        count
        for character, count in Counter(text).items()
        # Marks (M) are the vowels of many scripts.
        if not (character.isalnum() or character in _SIGNS or unicodedata.category(character)[0] == "M")
    )
    return min((signs + blobs) / max(len(text), 1), 1.0)


def line_lengths(document: Document) -> dict[bytes, int]:
    """Hash of each line of at least `_MIN_LINE` characters -> its characters, over all its occurrences."""
    lengths = Counter[bytes]()
    for line in _content(document).split("\n"):
        plain = " ".join(line.split())
        if len(plain) >= _MIN_LINE:
            key = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=_LINE_BYTES).digest()
            lengths[key] += len(plain)
    return lengths


def count_lines(documents: Iterable[Document]) -> dict[int, Counter[bytes]]:
    """Source -> in how many of its documents each line occurs."""
    counts: dict[int, Counter[bytes]] = {}
    for document in documents:
        counts.setdefault(document.source, Counter()).update(line_lengths(document).keys())
    return counts


def boilerplate_lines(counts: Counter[bytes], documents: int) -> frozenset[bytes]:
    """The lines that very many of the `documents` of a source share, such as footers."""
    least = max(BOILERPLATE_DOCUMENTS, documents * BOILERPLATE_SHARE)
    return frozenset(key for key, count in counts.items() if count >= least)


def boilerplate_problem(document: Document, lines: frozenset[bytes], limit: float) -> Diagnostic | None:
    """Why the document is left out if a larger share than `limit` of it is boilerplate `lines`; None if it is kept."""
    lengths = line_lengths(document)
    share = sum(size for key, size in lengths.items() if key in lines) / max(sum(lengths.values()), 1)
    if share <= limit:
        return None
    return _problem(document, "{:.0%} of it is lines that very many share", "boilerplate", "boilerplate", share)
