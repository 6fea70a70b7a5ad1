"""How much of a text also stands in the training set: exact, in bounded memory.

A polynomial hash modulo 2**64 finds windows that may occur in a stretch of the memory map; their tokens are then
compared. If n tokens in a row occur, so do any n-1 of them, so bisection over n finds the longest copy.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

RUN_TOKENS = 16  # shorter runs are idioms, not copies
_STRETCH = 2_000_000
_SIEVE, _SIEVE_SHIFT = 2**20, np.uint64(44)
_BASE = 0x9E3779B97F4A7C15  # odd, so that powers of it can be undone

_Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Memorized:
    """What of some texts stands in the training set, in tokens.

    Attributes:
        copied: in runs of at least `RUN_TOKENS`.
        longest: of the longest run.
        longest_at: (text, first token) of it.
    """

    tokens: int
    copied: int
    longest: int
    longest_at: tuple[int, int]

    @property
    def share(self) -> float:
        return self.copied / max(1, self.tokens)


class TrainingText:
    """The tokens of a train split, searched by windows."""

    def __init__(self, tokens_P: npt.NDArray[Any], *, stretch: int = _STRETCH) -> None:
        """`tokens_P` may be a memory map, read in parts of `stretch` tokens."""
        self._tokens_P, self._stretch = tokens_P, stretch

    def memorized(self, texts: list[list[int]]) -> Memorized:
        """Compare each of `texts` with the train split."""
        runs = [np.asarray(text, dtype=np.int64) for text in texts]
        found, copied = self._found(runs, RUN_TOKENS), 0
        for text, starts in zip(runs, found, strict=True):
            covered = np.zeros(len(text) + 1, dtype=np.int64)
            np.add.at(covered, starts, 1)
            np.add.at(covered, starts + RUN_TOKENS, -1)
            copied += int((np.cumsum(covered)[:-1] > 0).sum())
        longest, at = self._longest(runs, _first(found))
        return Memorized(sum(map(len, runs)), copied, longest, at)

    def _longest(self, runs: list[_Tokens], known: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
        """The longest run and its place; `known` is the place of one of `RUN_TOKENS`, if there is one."""
        most = max(map(len, runs), default=0)
        low, high, at = (0, min(most, RUN_TOKENS - 1), (0, 0)) if known is None else (RUN_TOKENS, most, known)
        while low < high:
            middle = (low + high + 1) // 2
            found = _first(self._found(runs, middle))
            if found is None:
                high = middle - 1
            else:
                low, at = middle, found
        return low, at

    def _found(self, runs: list[_Tokens], size: int) -> list[_Tokens]:
        """For each text, the starts of windows of `size` tokens that occur in the training set."""
        counts = [max(0, len(run) - size + 1) for run in runs]
        if not any(counts):
            return [np.zeros(0, dtype=np.int64) for _ in runs]
        joined_N = np.concatenate(runs)
        begins = np.cumsum([0, *map(len, runs[:-1])])
        starts_W = np.concatenate([begin + np.arange(count) for begin, count in zip(begins, counts, strict=True)])
        known_W = self._occurring(joined_N, starts_W, size)
        return [np.flatnonzero(part) for part in np.split(known_W, np.cumsum(counts)[:-1])]

    def _occurring(self, joined_N: _Tokens, starts_W: _Tokens, size: int) -> npt.NDArray[np.bool_]:
        """For each window of `joined_N`, whether it occurs."""
        hashes_W = _window_hashes(joined_N, size)[starts_W]
        windows_W = sliding_window_view(joined_N.astype(self._tokens_P.dtype), size)[starts_W]
        seen = set[bytes]()
        sieve = np.zeros(_SIEVE, dtype=bool)  # nearly all of the training set falls through it
        sieve[hashes_W >> _SIEVE_SHIFT] = True
        for start in range(0, max(0, len(self._tokens_P) - size + 1), self._stretch):
            tokens_P = np.asarray(self._tokens_P[start : start + self._stretch + size - 1])
            hashes_P = _window_hashes(tokens_P, size)
            candidates = np.flatnonzero(sieve[hashes_P >> _SIEVE_SHIFT])
            candidates = candidates[np.isin(hashes_P[candidates], hashes_W)]
            windows_P = sliding_window_view(tokens_P, size)
            seen.update(windows_P[place].tobytes() for place in candidates)
        return np.fromiter((window.tobytes() in seen for window in windows_W), dtype=bool, count=len(windows_W))


def _first(found: list[_Tokens]) -> tuple[int, int] | None:
    """The first (text, window) of those found."""
    return next(((number, int(starts[0])) for number, starts in enumerate(found) if len(starts)), None)


@functools.lru_cache(maxsize=4)
def _powers(base: int, count: int) -> npt.NDArray[np.uint64]:
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _window_hashes(tokens_N: npt.NDArray[Any], size: int) -> npt.NDArray[np.uint64]:
    """The hash of every window: the sum of token times base to its place in the window."""
    count = 1 << len(tokens_N).bit_length()  # few different counts, so that `_powers` has them
    sums = np.zeros(len(tokens_N) + 1, dtype=np.uint64)
    np.cumsum(tokens_N.astype(np.uint64) * _powers(_BASE, count)[: len(tokens_N)], out=sums[1:])
    windows = len(tokens_N) - size + 1
    undo_W = _powers(pow(_BASE, -1, 2**64), count)[:windows]
    hashes: npt.NDArray[np.uint64] = (sums[size:] - sums[:windows]) * undo_W
    return hashes
