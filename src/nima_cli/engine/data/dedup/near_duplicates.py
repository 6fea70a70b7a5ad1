"""Compares documents that may say almost the same: shingles, MinHash signatures, similarity, clusters.

MinHash (Broder, "On the resemblance and containment of documents", 1997) over runs of five words, with multiply-shift
hashing (Dietzfelbinger et al. 1997), candidates by banding (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
section 3.4), and one byte of each minimum kept to estimate similarity (b-bit minwise hashing, Li and Koenig 2010). A
signature only proposes pairs; the exact Jaccard similarity decides.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.dedup.words import words
from nima_cli.engine.data.document import Document

# Above the first a document is removed, above the second it stays with the others on one side of the split.
SAME, ALIKE = 0.8, 0.6
RUN_WORDS = 5
BANDS, ROWS = 25, 5
_MAX_WORDS_KNOWN = 2**18
_BLOCK = 2048

U64 = npt.NDArray[np.uint64]


class _WordHashes(dict[str, int]):
    """Word -> 64 bits that depend on nothing but the word."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MAX_WORDS_KNOWN:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = value = int.from_bytes(digest, "little")
        return value


_hashes = _WordHashes()


@functools.cache
def _multipliers() -> tuple[U64, U64]:
    """Odd factors and addends of the hash functions, fixed for ever (from BLAKE2b, not from a random generator)."""
    count = BANDS * ROWS
    digest = b"".join(hashlib.blake2b(number.to_bytes(4, "little")).digest() for number in range(count))
    numbers = np.frombuffer(digest, dtype="<u8").reshape(count, 8).astype(np.uint64)
    return numbers[:, 0] | np.uint64(1), numbers[:, 1]


def shingles(document: Document) -> U64:
    """Sorted unique hashes of all runs of `RUN_WORDS` of the `words` (or of all, if they are fewer), case ignored."""
    text = "\n".join([document.text, *(turn.content for turn in document.turns)])
    found = words(text.casefold())
    hashes = np.fromiter(map(_hashes.__getitem__, found), dtype=np.uint64, count=len(found))
    width = max(min(RUN_WORDS, len(found)), 1)
    runs = np.zeros(max(len(found) - width + 1, 0), dtype=np.uint64)
    for place in range(width):
        runs = (runs ^ hashes[place : place + len(runs)]) * np.uint64(0x9E3779B97F4A7C15)
        runs ^= runs >> np.uint64(29)
    return np.unique(runs)


@dataclass(frozen=True, slots=True)
class Signatures:
    """MinHash signatures of n documents.

    Attributes:
        bands: uint32 [n, BANDS], equal where documents may be alike.
        minima: uint8 [n, BANDS * ROWS], one byte of each minimum.
    """

    bands: npt.NDArray[np.uint32]
    minima: npt.NDArray[np.uint8]


def minhash(documents: Sequence[Document]) -> Signatures:
    """The signature of every document."""
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


def jaccard(one: U64, other: U64) -> float:
    """The share of the runs of two documents that both have; arguments as from `shingles`."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - common
    return common / union if union else 1.0


def cluster_duplicates(
    documents: int, pairs: npt.NDArray[np.int64], similarity: npt.NDArray[np.float64]
) -> tuple[dict[int, int], npt.NDArray[np.int64]]:
    """Remove what repeats an earlier document that stays, and join what is alike.

    Args:
        documents: how many there are.
        pairs: int64 [pairs, 2], each (earlier, later).
        similarity: exact Jaccard similarity of each pair.

    Returns:
        What is removed, in order, each with the earlier document that it repeats; and int64 [documents], the smallest
        number in the cluster of each.
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
