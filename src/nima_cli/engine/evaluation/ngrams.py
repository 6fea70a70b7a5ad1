"""An n-gram model of tokens with interpolated modified Kneser-Ney smoothing.

Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1999, section 3: the highest order
counts occurrences, lower orders count different preceding tokens, and each order has three discounts. As in KenLM
(Heafield et al., ACL 2013), n-grams that begin with the boundary symbol keep their plain count.

Each order is a sorted array of 64-bit keys: number of the history, times vocabulary size, plus last token.
Axis letters: N positions · U different n-grams · H histories
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_FALLBACK = (0.5, 1.0, 1.5)  # discounts where the counts of counts allow no estimate, as KenLM has them


@dataclass(frozen=True, slots=True)
class _Level:
    """One order: sorted keys, their own probability, and the weight that each history gives to the order below."""

    keys_U: _Ints
    own_U: npt.NDArray[np.float32]
    left_H: npt.NDArray[np.float32]


class NgramModel:
    """Probabilities of tokens after up to `order` - 1 others of the same sample."""

    def __init__(self, tokens_N: npt.NDArray[Any], places_N: _Ints, *, vocab_size: int, order: int = 5) -> None:
        """`places_N` are the training tokens' places in their samples; 0 begins one. `order` is over 1."""
        self.vocab_size, self.order = vocab_size, order
        self._levels: list[_Level] = []
        ids_N = tokens_N.astype(np.int64)  # number of the n-gram that ends at each position
        keys_U, size = np.arange(vocab_size), 1
        for length in range(2, order + 1):
            ends_N = np.flatnonzero(places_N >= length - 1)
            longer_N = ids_N[ends_N - 1] * vocab_size + tokens_N[ends_N]
            longer_U, first_U, of_N, plain_U = np.unique(
                longer_N, return_index=True, return_inverse=True, return_counts=True
            )
            preceded_U = np.bincount(ids_N[ends_N[first_U]], minlength=len(keys_U))
            if length > 2:
                preceded_U = preceded_U + np.bincount(ids_N[places_N == length - 2], minlength=len(keys_U))
            self._levels.append(_level(keys_U, preceded_U, size, vocab_size))
            size, keys_U = len(keys_U), longer_U
            ids_N = np.full(len(tokens_N), -1, dtype=np.int64)
            ids_N[ends_N] = of_N
        self._levels.append(_level(keys_U, plain_U, size, vocab_size))

    def losses(self, tokens_N: npt.NDArray[Any], places_N: _Ints) -> _Floats:
        """The loss of every token in nats, boundary symbols included."""
        probability_N = np.full(len(tokens_N), 1.0 / self.vocab_size)
        ids_N = np.zeros(len(tokens_N), dtype=np.int64)  # before the first order: the empty history
        for length, level in enumerate(self._levels, start=1):
            if not len(level.keys_U):  # no sample is that long
                break
            ends_N = np.flatnonzero(places_N >= length - 1)
            history_N = ids_N[ends_N - 1] if length > 1 else ids_N[ends_N]
            known = history_N >= 0
            ends_N, history_N = ends_N[known], history_N[known]
            wanted_N = history_N * self.vocab_size + tokens_N[ends_N]
            at_N = np.minimum(np.searchsorted(level.keys_U, wanted_N), len(level.keys_U) - 1)
            found_N = np.where(level.keys_U[at_N] == wanted_N, at_N, -1)
            own_N = np.where(found_N >= 0, level.own_U[found_N], 0.0)
            probability_N[ends_N] = own_N + level.left_H[history_N] * probability_N[ends_N]
            ids_N = np.full(len(tokens_N), -1, dtype=np.int64)
            ids_N[ends_N] = found_N
        loss_N: _Floats = -np.log(probability_N)
        return loss_N


def _level(keys_U: _Ints, counts_U: npt.NDArray[Any], histories: int, vocab_size: int) -> _Level:
    history_U = keys_U // vocab_size
    counted_U = np.minimum(counts_U, 3)
    discounts = np.array([0.0, *_discounts(counts_U)])
    total_H = np.bincount(history_U, weights=counts_U, minlength=histories)
    taken_H = np.bincount(history_U, weights=discounts[counted_U], minlength=histories)
    seen_H = total_H > 0
    left_H = np.where(seen_H, taken_H / np.where(seen_H, total_H, 1.0), 1.0)
    own_U = (counts_U - discounts[counted_U]) / np.where(seen_H, total_H, 1.0)[history_U]
    return _Level(keys_U, own_U.astype(np.float32), left_H.astype(np.float32))


def _discounts(counts_U: npt.NDArray[Any]) -> tuple[float, float, float]:
    """The discounts of counts 1, 2, and 3 or more (equation 26 of Chen and Goodman)."""
    n1, n2, n3, n4 = (int((counts_U == count).sum()) for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return _FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    inside = all(0.0 < value <= limit for value, limit in zip(found, (1.0, 2.0, 3.0), strict=True))
    return found if inside else _FALLBACK


def unigram_losses(train_N: npt.NDArray[Any], tokens_N: npt.NDArray[Any], *, vocab_size: int) -> _Floats:
    """The loss of every token by its frequency (Witten and Bell, 1991, interpolated with equal shares).

    `train_N` are tokens that are predicted, without the symbols that begin samples.
    """
    counts_V = np.bincount(train_N, minlength=vocab_size).astype(np.float64)
    total, kinds = counts_V.sum(), int((counts_V > 0).sum())
    probability_V = (counts_V + kinds / vocab_size) / (total + kinds)
    loss_N: _Floats = -np.log(np.maximum(probability_V, np.finfo(np.float64).tiny))[tokens_N]
    return loss_N
