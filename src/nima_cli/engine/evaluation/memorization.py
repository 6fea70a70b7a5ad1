"""How much of a text also stands in the training set, token by token; exact, and bounded whatever the set's size.

Windows of both sides are compared by a rolling hash, a stretch of the memory map at a time, and every
equality that matters is then checked on the tokens themselves. If n tokens in a row occur, so do any n-1 of them;
so the longest copy is found by bisection over n.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.dedup.rolling_hash import window_hashes

RUN_TOKENS = 16  # from here on a run counts as copied; shorter ones are idioms
_STRETCH = 2_000_000
_SIEVE, _SIEVE_SHIFT = 2**20, np.uint64(44)

_Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Memorized:
    """What of some texts stands in the training set.

    Attributes:
        tokens: in all texts.
        copied: in runs of at least `RUN_TOKENS` that occur there.
        longest: tokens of the longest run that occurs there.
        longest_at: (text, first token) of it.
    """

    tokens: int
    copied: int
    longest: int
    longest_at: tuple[int, int]

    @property
    def share(self) -> float:
        """Copied tokens of all."""
        return self.copied / max(1, self.tokens)


class TrainingText:
    """The tokens of a train split, searched by windows."""

    def __init__(self, tokens_P: npt.NDArray[Any], *, stretch: int = _STRETCH) -> None:
        """`tokens_P` may be a memory map; at most `stretch` of it is looked at at once."""
        self._tokens_P, self._stretch = tokens_P, stretch

    def memorized(self, texts: list[list[int]]) -> Memorized:
        """Compare `texts`, each by itself."""
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
        """The longest run and where it is; `known` is where one of `RUN_TOKENS` is, None where none is."""
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
        """For each text, where windows of `size` tokens begin that occur in the training set."""
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
        hashes_W = window_hashes(joined_N.astype(np.uint64), size)[starts_W]
        known_W = np.zeros(len(starts_W), dtype=bool)
        sorted_W, span = np.unique(hashes_W), np.arange(size)
        sieve = np.zeros(_SIEVE, dtype=bool)  # nearly all of the training set falls through it
        sieve[sorted_W >> _SIEVE_SHIFT] = True
        for start in range(0, max(0, len(self._tokens_P) - size + 1), self._stretch):
            tokens_P = np.asarray(self._tokens_P[start : start + self._stretch + size - 1])
            hashes_P = window_hashes(tokens_P.astype(np.uint64), size)
            candidates = np.flatnonzero(sieve[hashes_P >> _SIEVE_SHIFT])
            nearest = np.minimum(np.searchsorted(sorted_W, hashes_P[candidates]), len(sorted_W) - 1)
            candidates = candidates[sorted_W[nearest] == hashes_P[candidates]]
            while len(candidates):  # more than once only where different windows share a hash
                found, first = np.unique(hashes_P[candidates], return_index=True)
                places = candidates[first]
                asked = np.flatnonzero(~known_W & np.isin(hashes_W, found))
                at = places[np.searchsorted(found, hashes_W[asked])]
                equal = (tokens_P[at[:, None] + span] == joined_N[starts_W[asked][:, None] + span]).all(axis=1)
                known_W[asked[equal]] = True
                if equal.all():
                    break
                candidates = np.setdiff1d(candidates, places)
                candidates = candidates[np.isin(hashes_P[candidates], hashes_W[asked[~equal]])]
        return known_W


def _first(found: list[_Tokens]) -> tuple[int, int] | None:
    """The first (text, window) of those found."""
    return next(((number, int(starts[0])) for number, starts in enumerate(found) if len(starts)), None)
