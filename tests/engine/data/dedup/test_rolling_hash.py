"""The hash of a window is that of its values alone, wherever it stands."""

import numpy as np
import pytest

from nima_cli.engine.data.dedup.rolling_hash import BASE, scattered, window_hashes


@pytest.mark.parametrize("size", [1, 2, 7, 30])
def test_hashes_are_those_of_a_plain_definition(size: int) -> None:
    values = scattered(np.random.default_rng(size).integers(0, 4000, size=30))
    plain = [
        sum(int(value) * BASE**place for place, value in enumerate(values[start : start + size])) % 2**64
        for start in range(len(values) - size + 1)
    ]
    assert window_hashes(values, size).tolist() == plain


@pytest.mark.parametrize("length", [0, 1, 4])
def test_what_is_shorter_than_a_window_has_none(length: int) -> None:
    assert window_hashes(np.zeros(length, dtype=np.uint64), 5).tolist() == []
