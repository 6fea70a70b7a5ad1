"""Finds documents that say almost the same: shingles, MinHash signatures, similarity, clusters.

MinHash (Broder, "On the resemblance and containment of documents", 1997) over runs of five words, with multiply-shift
hashing (Dietzfelbinger et al. 1997), candidates by banding (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
section 3.4), and one byte of each minimum kept to estimate similarity (b-bit minwise hashing, Li and Koenig 2010). A
signature only proposes pairs; the exact Jaccard similarity decides.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.document import Document
from nima_cli.files import explaining

# Above the first a document is removed, above the second it stays with the others on one side of the split.
SAME, ALIKE = 0.8, 0.6
RUN_WORDS = 5
BANDS, ROWS = 25, 5
# An estimate from one byte of 125 minima has a standard error of at most 0.045.
_WORTH_COMPARING = ALIKE - 0.15
_BLOCK = 2048
# Signatures that wait in memory, so that the files are seldom opened.
_HELD = 2**14

U64 = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
# Han, kana, Bopomofo and Yi: a word is one or two characters.
_SYLLABLES = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
_SYLLABLES += "\u4e00-\u9fff\ua000-\ua4cf\uf900-\ufaff\uff66-\uff9f\U00016fe0-\U00018d8f\U0001aff0-\U0001b2ff"
_SYLLABLES += "\U00020000-\U0003ffff"
# Thai, Lao, Tibetan, Burmese, Khmer, Tai, Balinese and Javanese: a word is several characters.
_LETTERS = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf\u0f00-\u0fff\u1000-\u109f\u1780-\u17dd"
_LETTERS += "\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b4b\ua980-\ua9c0\ua9e0-\ua9fe\uaa60-\uaadf"
_UNSPACED = re.compile(f"[{_SYLLABLES}{_LETTERS}]")
_PART = re.compile(f"(?P<syllables>[{_SYLLABLES}]+)|(?P<letters>[{_LETTERS}]+)|[^{_SYLLABLES}{_LETTERS}\\s]+")
# A run of five begins at five characters, and covers as much as five words: some 8 characters, or 16.
_FROM_EACH: dict[str | None, int] = {"syllables": 4, "letters": 12}


def words(text: str) -> list[str]:
    """The words of `text`, split at white space.

    In a script without spaces, overlapping runs of a few characters stand for words; no dictionary is needed.
    """
    if text.isascii() or not _UNSPACED.search(text):
        return text.split()
    found: list[str] = []
    for part in _PART.finditer(text):
        run, size = part[0], _FROM_EACH.get(part.lastgroup, len(part[0]))
        found += (run[start : start + size] for start in range(max(len(run) - size + 1, 1)))
    return found


@functools.lru_cache(maxsize=2**17)
def _word_hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def shingles(document: Document) -> U64:
    """Sorted unique hashes of all runs of `RUN_WORDS` of the `words` (or of all, if they are fewer), case ignored."""
    text = "\n".join([document.text, *(turn.content for turn in document.turns)])
    found = words(text.casefold())
    hashes = np.fromiter(map(_word_hash, found), dtype=np.uint64, count=len(found))
    width = max(min(RUN_WORDS, len(found)), 1)
    runs = np.zeros(max(len(found) - width + 1, 0), dtype=np.uint64)
    for place in range(width):
        runs = (runs ^ hashes[place : place + len(runs)]) * np.uint64(0x9E3779B97F4A7C15)
        runs ^= runs >> np.uint64(29)
    return np.unique(runs)


def jaccard(one: U64, other: U64) -> float:
    """The share of the `shingles` of two documents that both have."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - common
    return common / union if union else 1.0


@dataclass(frozen=True, slots=True)
class Signatures:
    """MinHash signatures of n documents."""

    bands: npt.NDArray[np.uint32]  # [n, BANDS], equal where documents may be alike
    minima: npt.NDArray[np.uint8]  # [n, BANDS * ROWS], one byte of each minimum


def minhash(documents: Sequence[Document]) -> Signatures:
    minima = np.array([_minima(shingles(document)) for document in documents], dtype=np.uint64)
    minima = minima.reshape(len(documents), BANDS * ROWS)
    bands = np.zeros((len(minima), BANDS), dtype=np.uint64)
    for row in range(ROWS):
        bands = (bands ^ minima[:, row::ROWS]) * np.uint64(0xD6E8FEB86659FD93)
        bands ^= bands >> np.uint64(32)
    return Signatures(bands.astype(np.uint32), (minima >> np.uint64(40)).astype(np.uint8))


def _minima(runs: U64) -> U64:
    factors, addends = _multipliers()
    smallest = np.full(len(factors), np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(runs), _BLOCK):
        hashed = runs[start : start + _BLOCK, None] * factors + addends
        np.minimum(smallest, hashed.min(axis=0), out=smallest)
    return smallest


@functools.cache
def _multipliers() -> tuple[U64, U64]:
    """Odd factors and addends of the hash functions, fixed for ever (from BLAKE2b, not from a random generator)."""
    count = BANDS * ROWS
    digest = b"".join(hashlib.blake2b(number.to_bytes(4, "little")).digest() for number in range(count))
    numbers = np.frombuffer(digest, dtype="<u8").reshape(count, 8).astype(np.uint64)
    return numbers[:, 0] | np.uint64(1), numbers[:, 1]


class MinHashStore:
    """Signatures in files, so that memory does not grow with them: one file for each band, one for the minima.

    No file stays open. Every method raises a ResourceError when the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        """Create the files, empty: a killed process of the same number may have left some."""
        self._held: list[Signatures] = []
        self._waiting = 0
        self._folder = folder
        self._minima = folder / "minima"
        self._bands = [folder / f"band-{number}" for number in range(BANDS)]
        with explaining(folder, "write"):
            folder.mkdir(exist_ok=True)
            for path in (self._minima, *self._bands):
                path.write_bytes(b"")

    def append(self, signatures: Signatures) -> None:
        self._held.append(signatures)
        self._waiting += len(signatures.minima)
        if self._waiting >= _HELD:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        minima = np.concatenate([one.minima for one in self._held])
        bands = np.concatenate([one.bands for one in self._held]).astype("<u4")
        self._held, self._waiting = [], 0
        with explaining(self._folder, "write"):
            for path, column in zip((self._minima, *self._bands), (minima, *bands.T), strict=True):
                with path.open("ab") as stream:
                    stream.write(column.tobytes())

    def candidates(self, numbers: Numbers) -> Numbers:
        """Pairs worth comparing of the documents with these increasing `numbers`: [pairs, 2], sorted, (earlier, later).

        A document that shares a band with others is paired with the first of them and with the one before it, so the
        number of pairs is linear in that of documents.
        """
        self._write()
        found = np.zeros(0, dtype=np.uint64)
        with explaining(self._folder, "read"):
            for path in self._bands:
                keys = np.fromfile(path, dtype="<u4")[numbers]
                found = np.unique(np.concatenate([found, _pairs(keys, numbers)]))
            pairs = np.stack([found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
            return pairs[self._similarity(pairs) >= _WORTH_COMPARING]

    def _similarity(self, pairs: Numbers) -> npt.NDArray[np.float64]:
        """An estimate for each pair: the share of equal minima, corrected for those equal by chance."""
        equal = np.zeros(len(pairs))
        for start in range(0, len(pairs), _BLOCK):
            # Mapped anew each time: what was read counts as memory of the process for as long as the map lives.
            minima = np.memmap(self._minima, dtype=np.uint8, mode="r").reshape(-1, BANDS * ROWS)
            one, other = pairs[start : start + _BLOCK].T
            equal[start : start + _BLOCK] = (minima[one] == minima[other]).mean(axis=1)
        return (equal - 1 / 256) / (1 - 1 / 256)


def _pairs(keys: npt.NDArray[np.uint32], numbers: Numbers) -> U64:
    """The pairs of documents that one band proposes, each as earlier * 2^32 + later."""
    order = np.argsort(keys, kind="stable")
    keys, members = keys[order], numbers[order].astype(np.uint64)
    later = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    begins = np.arange(len(keys))
    begins[later] = 0
    firsts = members[np.maximum.accumulate(begins)]
    return np.concatenate(
        [(earlier << np.uint64(32)) | members[later] for earlier in (firsts[later], members[later - 1])]
    )


def cluster_duplicates(
    documents: int, pairs: Numbers, similarity: npt.NDArray[np.float64]
) -> tuple[dict[int, int], Numbers]:
    """Choose the documents that repeat an earlier one that stays, and join those that are alike into clusters.

    `pairs` [pairs, 2] are (earlier, later), with the exact Jaccard `similarity` of each. Returns removed document ->
    the earlier one that it repeats, in order; and [documents], the smallest number in the cluster of each.
    """
    parent: dict[int, int] = {}  # of those that are not alone

    def root(number: int) -> int:
        while (above := parent.setdefault(number, number)) != number:
            parent[number] = number = parent[above]
        return number

    removed: dict[int, int] = {}
    for index in np.lexsort((pairs[:, 0], pairs[:, 1])).tolist():
        (earlier, later), value = pairs[index].tolist(), similarity[index]
        if value >= ALIKE:
            low, high = sorted((root(earlier), root(later)))
            parent[high] = low
        if value >= SAME and earlier not in removed and later not in removed:
            removed[later] = earlier
    clusters = np.arange(documents)
    for number in parent:
        clusters[number] = root(number)
    return removed, clusters
