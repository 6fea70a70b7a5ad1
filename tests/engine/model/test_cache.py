"""A cache takes memory for what it holds, and says the same however often it grew."""

import torch

from nima_cli.engine.model.cache import KVCache
from tests.engine.small_models import random_model, small_shape


def new_cache(capacity: int) -> KVCache:
    return KVCache(
        small_shape(n_kv_heads=2), batch=1, capacity=capacity, device=torch.device("cpu"), dtype=torch.float32
    )


def test_a_long_context_takes_no_memory_before_it_is_used() -> None:
    cache = new_cache(1 << 20)
    assert cache.room < 1000
    assert cache.keys_BHTD[0].shape[2] == cache.values_BHTD[1].shape[2] == cache.room


def test_it_never_grows_beyond_its_capacity() -> None:
    cache = new_cache(600)
    cache.reserve(257)
    assert cache.room == 512
    cache.reserve(513)
    assert cache.room == 600
    assert new_cache(24).room == 24


@torch.inference_mode()
def test_growing_changes_no_prediction() -> None:
    model = random_model(small_shape(n_kv_heads=2, context_length=1200))
    ids_BT = torch.arange(1100).view(1, -1) * 7 % 97
    growing, grown = new_cache(1200), new_cache(1200)
    grown.reserve(1200)
    for part_BT in (*torch.split(ids_BT[:, :1000], [200, 100, 700], dim=1), *torch.split(ids_BT[:, 1000:], 1, dim=1)):
        assert torch.equal(model(part_BT, growing), model(part_BT, grown))
    assert growing.length == grown.length == 1100
