"""Keys and values of past positions, so that generation computes each token once."""

import torch

from nima_cli.engine.model.shape import ModelShape

# B batch · H key/value heads · T time · D head width


class KVCache:
    """Preallocated keys and values of every layer, for `capacity` positions of which `length` are filled."""

    def __init__(
        self, shape: ModelShape, *, batch: int, capacity: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.capacity = capacity
        self.length = 0
        size = (batch, shape.n_kv_heads, capacity, shape.head_dim)
        self.keys_BHTD = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.n_layers)]
        self.values_BHTD = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.n_layers)]

    def extend(
        self, layer: int, keys_BHTD: torch.Tensor, values_BHTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one layer's new positions and return all of its positions; after the last layer, advance `length`."""
        end = self.length + keys_BHTD.shape[2]
        assert end <= self.capacity, "the caller keeps within the capacity"
        self.keys_BHTD[layer][:, :, self.length : end] = keys_BHTD
        self.values_BHTD[layer][:, :, self.length : end] = values_BHTD
        return self.keys_BHTD[layer][:, :, :end].to(keys_BHTD), self.values_BHTD[layer][:, :, :end].to(values_BHTD)

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        assert 0 <= length <= self.length
        self.length = length
