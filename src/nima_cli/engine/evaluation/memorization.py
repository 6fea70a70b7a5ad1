"""How much of a text also stands in the training set: exact, in bounded memory.

A rolling hash finds windows that may occur in a stretch of the memory map; their tokens are then
compared. If n tokens in a row occur, so do any n-1 of them, so bisection over n finds the longest copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.dedup.rolling_hash import window_hashes

RUN_TOKENS = 16  # shorter runs are idioms, not copies
_STRETCH = 2_000_000
_SIEVE, _SIEVE_SHIFT = 2**20, np.uint64(44)

_Tokens = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Memorized:
    """How many tokens of some texts also occur in the training set.

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


def memorized(texts: Sequence[Sequence[int]], train_P: npt.NDArray[Any], *, stretch: int = _STRETCH) -> Memorized:
    """Compare each of `texts` with a train split, which may be a memory map, read in parts of `stretch` tokens."""
    runs = [np.asarray(text, dtype=train_P.dtype) for text in texts]
    places = _copies(runs, RUN_TOKENS, train_P, stretch)
    copied = [np.zeros(len(run), dtype=bool) for run in runs]
    for text, start in places:
        copied[text][start : start + RUN_TOKENS] = True
    most = max(map(len, runs), default=0)
    low, high, at = (RUN_TOKENS, most, places[0]) if places else (0, min(most, RUN_TOKENS - 1), (0, 0))
    while low < high:
        middle = (low + high + 1) // 2
        if places := _copies(runs, middle, train_P, stretch):
            low, at = middle, places[0]
        else:
            high = middle - 1
    return Memorized(sum(map(len, runs)), sum(map(np.count_nonzero, copied)), low, at)


def _copies(runs: list[_Tokens], size: int, train_P: npt.NDArray[Any], stretch: int) -> list[tuple[int, int]]:
    """(text, start) of the windows of `size` tokens that occur in the training set."""
    windows = {
        (text, start): run[start : start + size].tobytes()
        for text, run in enumerate(runs)
        for start in range(len(run) - size + 1)
    }
    if not windows:
        return []
    hashes_W = np.concatenate([window_hashes(run.astype(np.uint64), size) for run in runs if len(run) >= size])
    sieve = np.zeros(_SIEVE, dtype=bool)  # nearly all of the training set falls through it
    sieve[hashes_W >> _SIEVE_SHIFT] = True
    seen = set[bytes]()
    for first in range(0, len(train_P) - size + 1, stretch):
        tokens_P = np.asarray(train_P[first : first + stretch + size - 1])
        hashes_P = window_hashes(tokens_P.astype(np.uint64), size)
        candidates = np.flatnonzero(sieve[hashes_P >> _SIEVE_SHIFT])
        candidates = candidates[np.isin(hashes_P[candidates], hashes_W)]
        seen.update(tokens_P[place : place + size].tobytes() for place in candidates)
    return [place for place, window in windows.items() if window in seen]
