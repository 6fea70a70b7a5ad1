"""Finds runs of tokens that a held-out split shares with the train split.

Windows of tokens are compared by a rolling hash. To keep memory small the held-out side is indexed twice: first only
every 25th window of 26 tokens (any run of 50 holds one of these), then the windows of 50 around those that the train
split has too.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.dedup.rolling_hash import U64, scattered, window_hashes

RUN_TOKENS = 50
_STRIDE = RUN_TOKENS // 2
_ANCHOR = RUN_TOKENS - _STRIDE + 1
_FILTER_BITS = 24

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenBlock:
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


Reader = Callable[[], Iterator[TokenBlock]]


def shared_runs(held_out: Reader, train: Reader) -> Iterator[SharedRun]:
    """Every maximal shared run, in the order of the held-out split.

    Args:
        held_out: reads a split from its start; called more than once.
        train: the same for the split that is learned.
    """
    wanted = _sorted_unique(hashes[valid] for hashes, valid in map(_anchors, held_out()))
    if not len(wanted):
        return
    present, _ = _present(wanted, train, _ANCHOR)
    hits = wanted[present]
    if not len(hits):
        return
    wanted = _sorted_unique(_around(block, hits) for block in held_out())
    present, where = _present(wanted, train, RUN_TOKENS)
    common, origin = wanted[present], where[present]
    if len(common):
        for block in held_out():
            yield from _runs(block, common, origin)


def _anchors(block: TokenBlock) -> tuple[U64, npt.NDArray[np.bool_]]:
    hashes, valid = _windows(block, _ANCHOR)
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


def _windows(block: TokenBlock, width: int) -> tuple[U64, npt.NDArray[np.bool_]]:
    """A hash for the window that begins at each token, and whether the window stays in one document."""
    hashes = window_hashes(scattered(block.tokens), width)
    return hashes, block.documents[: len(hashes)] == block.documents[width - 1 :]


def _present(wanted: U64, train: Reader, width: int) -> tuple[npt.NDArray[np.bool_], Numbers]:
    """Which of the sorted hashes `wanted` the train split has, and for each the first document that has it."""
    where = np.full(len(wanted), -1, dtype=np.int64)
    sieve = np.zeros(2**_FILTER_BITS, dtype=bool)
    shift = np.uint64(64 - _FILTER_BITS)
    sieve[wanted >> shift] = True
    for block in train():
        hashes, valid = _windows(block, width)
        maybe = np.flatnonzero(valid & sieve[hashes >> shift])
        slots = np.searchsorted(wanted, hashes[maybe])
        slots[slots == len(wanted)] = 0
        equal = wanted[slots] == hashes[maybe]
        slots, documents = slots[equal], block.documents[maybe[equal]]
        # Written backwards, so that the first occurrence of each hash is the last to be written.
        new = where[slots] < 0
        where[slots[new][::-1]] = documents[new][::-1]
    return where >= 0, where


def _around(block: TokenBlock, hits: U64) -> U64:
    """Hashes of the windows of `RUN_TOKENS` that hold an anchor among `hits`."""
    anchors, inside = _anchors(block)
    places = np.flatnonzero(inside & np.isin(anchors, hits)) * _STRIDE
    hashes, valid = _windows(block, RUN_TOKENS)
    near = np.zeros(len(hashes) + RUN_TOKENS, dtype=bool)
    for back in range(_STRIDE):
        near[np.maximum(places - back, 0)] = True
    return hashes[valid & near[: len(hashes)]]


def _runs(block: TokenBlock, common: U64, origin: Numbers) -> Iterator[SharedRun]:
    hashes, valid = _windows(block, RUN_TOKENS)
    slots = np.minimum(np.searchsorted(common, hashes), len(common) - 1)
    shared = valid & (common[slots] == hashes)
    documents = block.documents[: len(hashes)]
    goes_on = shared[1:] & shared[:-1] & (documents[1:] == documents[:-1])
    starts = np.flatnonzero(shared & ~np.append(False, goes_on)[: len(hashes)])
    ends = np.flatnonzero(shared & ~np.append(goes_on, False)[: len(hashes)]) + RUN_TOKENS
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        ids = tuple(block.tokens[start : start + RUN_TOKENS].tolist())
        yield SharedRun(int(documents[start]), int(origin[slots[start]]), end - start, ids)
