"""Keys and values of past positions, in static memory, so that generation pays for each token once."""

import torch

from nima_cli.engine.model.shape import ModelShape

# B batch · H key/value heads · T time · D head width


class KVCache:
    """Preallocated keys and values of every layer; `length` positions are filled.

    Args:
        shape: of the model it serves.
        batch: sequences decoded side by side.
        capacity: positions it can hold, at most the model's context.
    """

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
        """Write new positions of one layer and return everything up to and including them, in their type.

        The caller advances `length` once, after the last layer.
        """
        end = self.length + keys_BHTD.shape[2]
        assert end <= self.capacity, "the caller keeps within the capacity"
        self.keys_BHTD[layer][:, :, self.length : end] = keys_BHTD
        self.values_BHTD[layer][:, :, self.length : end] = values_BHTD
        return self.keys_BHTD[layer][:, :, :end].to(keys_BHTD), self.values_BHTD[layer][:, :, :end].to(values_BHTD)

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on, to answer again from there."""
        assert 0 <= length <= self.length
        self.length = length
