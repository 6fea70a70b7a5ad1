"""A rolling hash over tokens: a number for each window, all of them at once (Karp and Rabin 1987), modulo 2^64."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

BASE = 0x9E3779B97F4A7C15  # odd, so that powers of it can be undone
_SEED = 20240601

U64 = npt.NDArray[np.uint64]


def window_hashes(values_N: U64, size: int) -> U64:
    """The hash of the window of `size` values that begins at each: the sum of each value times base to its place."""
    windows = max(0, len(values_N) - size + 1)
    count = 1 << len(values_N).bit_length()  # few different ones, so that the powers are at hand
    sums = np.zeros(len(values_N) + 1, dtype=np.uint64)
    np.cumsum(values_N * _powers(BASE, count)[: len(values_N)], out=sums[1:])
    hashes: U64 = (sums[size:] - sums[:windows]) * _powers(pow(BASE, -1, 2**64), count)[:windows]
    return hashes


@functools.lru_cache(maxsize=4)
def _powers(base: int, count: int) -> U64:
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def scattered(tokens: npt.NDArray[Any]) -> U64:
    """64 well-mixed bits for each id (the finaliser of SplitMix64, Steele et al. 2014).

    Windows of these are equal where their hashes are, as far as chance allows; those of the ids themselves need a look.
    """
    mixed = (tokens.astype(np.uint64) + np.uint64(_SEED)) * np.uint64(BASE)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
