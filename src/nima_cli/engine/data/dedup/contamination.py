"""Finds stretches of tokens that a held-out split shares with the train split; pure functions over token arrays.

Windows of tokens are compared by a rolling polynomial hash modulo 2^64 (Karp and Rabin 1987), all of them at once in
numpy. To keep memory small the held-out side is indexed twice: first only every 25th window of 26 tokens (any run of
50 holds one of these), then the windows of 50 around those that the train split has too.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RUN_TOKENS = 50
_STRIDE = RUN_TOKENS // 2
_ANCHOR = RUN_TOKENS - _STRIDE + 1
_BASE = 0x9E3779B97F4A7C15
_SEED = 20240601
_FILTER_BITS = 24

U64 = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive documents of a split.

    Attributes:
        tokens: ids [t], boundary symbols left out.
        documents: int64 [t], the document that each token belongs to.
    """

    tokens: npt.NDArray[np.uint32]
    documents: Numbers


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A run of `RUN_TOKENS` and more tokens of a held-out document, all of whose windows are in the train split.

    Attributes:
        document: the held-out document.
        train_document: one that holds the run's first window.
        tokens: how many.
        ids: the first tokens of it.
    """

    document: int
    train_document: int
    tokens: int
    ids: tuple[int, ...]


Reader = Callable[[], Iterator[Stretch]]


def shared_runs(held_out: Reader, train: Reader) -> Iterator[SharedRun]:
    """Every maximal shared run, in the order of the held-out split.

    Args:
        held_out: reads a split from its start; called more than once.
        train: the same for the split that is learned.
    """
    wanted = _sorted_unique(map(_anchors, held_out()))
    if not len(wanted):
        return
    present, _ = _present(wanted, train, _ANCHOR)
    hits = wanted[present]
    if not len(hits):
        return
    wanted = _sorted_unique(_around(stretch, hits) for stretch in held_out())
    present, where = _present(wanted, train, RUN_TOKENS)
    common, origin = wanted[present], where[present]
    if len(common):
        for stretch in held_out():
            yield from _runs(stretch, common, origin)


def _anchors(stretch: Stretch) -> U64:
    hashes, valid = _every_25th(_windows(stretch, _ANCHOR))
    return hashes[valid]


def _every_25th(windows: tuple[U64, npt.NDArray[np.bool_]]) -> tuple[U64, npt.NDArray[np.bool_]]:
    hashes, valid = windows
    return hashes[::_STRIDE], valid[::_STRIDE]


def _sorted_unique(parts: Iterable[U64]) -> U64:
    # As `np.unique` of all parts, with no more than two copies at a time: they may be as many as the tokens.
    held = list(parts)
    found = np.concatenate([*held, np.zeros(0, dtype=np.uint64)])
    held.clear()
    found.sort()
    new = np.ones(len(found), dtype=bool)
    new[1:] = found[1:] != found[:-1]
    return found[new]


def _windows(stretch: Stretch, width: int) -> tuple[U64, npt.NDArray[np.bool_]]:
    """A hash for the window that begins at each token, and whether the window stays in one document."""
    count = len(stretch.tokens) - width + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=bool)
    powers, inverses = _powers(len(stretch.tokens))
    sums = np.zeros(len(stretch.tokens) + 1, dtype=np.uint64)
    np.cumsum(_scatter(stretch.tokens) * powers, out=sums[1:])
    hashes = (sums[width:] - sums[:-width]) * inverses[:count]
    return hashes, stretch.documents[:count] == stretch.documents[width - 1 :]


def _scatter(tokens: npt.NDArray[np.uint32]) -> U64:
    """64 well-mixed bits for each id (the finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = (tokens.astype(np.uint64) + np.uint64(_SEED)) * np.uint64(_BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _powers(count: int) -> tuple[U64, U64]:
    """The powers of the base from 0 on, and their inverses modulo 2^64 (the base is odd)."""
    inverse = pow(_BASE, -1, 2**64)
    both = []
    for base in (_BASE, inverse):
        factors = np.full(count, base, dtype=np.uint64)
        factors[0] = 1
        both.append(np.cumprod(factors, dtype=np.uint64))
    return both[0], both[1]


def _present(wanted: U64, train: Reader, width: int) -> tuple[npt.NDArray[np.bool_], Numbers]:
    """Which of the sorted hashes `wanted` the train split has, and for each the first document that has it."""
    where = np.full(len(wanted), -1, dtype=np.int64)
    sieve = np.zeros(2**_FILTER_BITS, dtype=bool)
    shift = np.uint64(64 - _FILTER_BITS)
    sieve[wanted >> shift] = True
    for stretch in train():
        hashes, valid = _windows(stretch, width)
        maybe = np.flatnonzero(valid & sieve[hashes >> shift])
        slots = np.searchsorted(wanted, hashes[maybe])
        slots[slots == len(wanted)] = 0
        equal = wanted[slots] == hashes[maybe]
        slots, documents = slots[equal], stretch.documents[maybe[equal]]
        # Written backwards, so that the first occurrence of each hash is the last to be written.
        new = where[slots] < 0
        where[slots[new][::-1]] = documents[new][::-1]
    return where >= 0, where


def _around(stretch: Stretch, hits: U64) -> U64:
    """Hashes of the windows of `RUN_TOKENS` that hold an anchor among `hits`."""
    anchors, inside = _every_25th(_windows(stretch, _ANCHOR))
    places = np.flatnonzero(inside & np.isin(anchors, hits)) * _STRIDE
    hashes, valid = _windows(stretch, RUN_TOKENS)
    near = np.zeros(len(hashes) + RUN_TOKENS, dtype=bool)
    for back in range(_STRIDE):
        near[np.maximum(places - back, 0)] = True
    return hashes[valid & near[: len(hashes)]]


def _runs(stretch: Stretch, common: U64, origin: Numbers) -> Iterator[SharedRun]:
    hashes, valid = _windows(stretch, RUN_TOKENS)
    slots = np.minimum(np.searchsorted(common, hashes), len(common) - 1)
    shared = valid & (common[slots] == hashes)
    documents = stretch.documents[: len(hashes)]
    edge = np.ones(len(hashes), dtype=bool)
    edge[1:] = ~shared[:-1] | (documents[1:] != documents[:-1])
    starts = np.flatnonzero(shared & edge)
    last = np.ones(len(hashes), dtype=bool)
    last[:-1] = ~shared[1:] | (documents[1:] != documents[:-1])
    ends = np.flatnonzero(shared & last) + RUN_TOKENS
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        ids = tuple(stretch.tokens[start : start + RUN_TOKENS].tolist())
        yield SharedRun(int(documents[start]), int(origin[slots[start]]), end - start, ids)
