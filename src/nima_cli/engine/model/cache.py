"""Keys and values of past positions, so that generation computes each token once."""

import torch

from nima_cli.engine.model.shape import ModelShape

# B batch · H key/value heads · T time · D head width


_FIRST_ROOM = 256  # positions


class KVCache:
    """Keys and values of every layer, for up to `capacity` positions of which `length` are filled.

    Memory grows with what is filled: models are made for up to a million positions, and a chat has some hundred.

    Attributes:
        room: positions that memory has been taken for.
    """

    def __init__(
        self, shape: ModelShape, *, batch: int, capacity: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.capacity = capacity
        self.length = 0
        self.room = min(capacity, _FIRST_ROOM)
        size = (batch, shape.n_kv_heads, self.room, shape.head_dim)
        self.keys_BHTD = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.n_layers)]
        self.values_BHTD = [torch.zeros(size, device=device, dtype=dtype) for _ in range(shape.n_layers)]

    def reserve(self, length: int) -> None:
        """Make room for so many positions, at least twice as much as there was."""
        assert length <= self.capacity, "the caller keeps within the capacity"
        if length > self.room:
            self.room = min(self.capacity, max(length, 2 * self.room))
            for held in (self.keys_BHTD, self.values_BHTD):  # a layer at a time: both sizes of all may not fit
                for layer, old_BHTD in enumerate(held):
                    batch, heads, _, width = old_BHTD.shape
                    held[layer] = old_BHTD.new_zeros(batch, heads, self.room, width)
                    held[layer][:, :, : self.length] = old_BHTD[:, :, : self.length]

    def extend(
        self, layer: int, keys_BHTD: torch.Tensor, values_BHTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one layer's new positions and return all of its positions; after the last layer, advance `length`."""
        end = self.length + keys_BHTD.shape[2]
        self.reserve(end)
        self.keys_BHTD[layer][:, :, self.length : end] = keys_BHTD
        self.values_BHTD[layer][:, :, self.length : end] = values_BHTD
        return self.keys_BHTD[layer][:, :, :end].to(keys_BHTD), self.values_BHTD[layer][:, :, :end].to(values_BHTD)

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        assert 0 <= length <= self.length
        self.length = length
