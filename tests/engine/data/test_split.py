"""The split: clusters whole, ratios near, independent of the order of documents."""

import numpy as np
import pytest

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.split import split
from nima_cli.errors import DataError


def keys(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 2**63, size=(count, 2), dtype=np.uint64)


def test_clusters_stay_on_one_side_and_ratios_hold() -> None:
    clusters = np.repeat(np.arange(250) * 4, 4)
    parts = split(keys(1000), clusters, np.arange(1000), DataConfig(train_ratio=0.7, val_ratio=0.2))
    sides = [set(clusters[numbers].tolist()) for numbers in parts.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 250
    assert [len(numbers) for numbers in parts.values()] == [700, 200, 100]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(1000))


def test_a_large_cluster_takes_one_side_only() -> None:
    clusters = np.array([0] * 90 + list(range(90, 100)))
    parts = split(keys(100), clusters, np.arange(100), DataConfig())
    assert sorted(len(numbers) >= 90 for numbers in parts.values()) == [False, False, True]
    assert all(len(numbers) for numbers in parts.values())


def test_the_order_of_documents_changes_nothing() -> None:
    own, clusters = keys(300), np.repeat(np.arange(100) * 3, 3)
    before = split(own, clusters, np.arange(300), DataConfig())
    mixed = np.random.default_rng(1).permutation(300)
    renamed = clusters[mixed] + 1000
    after = split(own[mixed], renamed, np.arange(300), DataConfig())
    assert {name: set(map(tuple, own[n].tolist())) for name, n in before.items()} == {
        name: set(map(tuple, own[mixed][n].tolist())) for name, n in after.items()
    }


def test_one_cluster_cannot_be_split() -> None:
    with pytest.raises(DataError, match="nearly the same") as caught:
        split(keys(9), np.array([0] * 8 + [8]), np.arange(9), DataConfig())
    assert "`dedupe=exact`" in str(caught.value.hint)
