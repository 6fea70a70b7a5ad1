"""Dropout whose masks depend on the seed and a row's number alone, however rows are grouped or shared by processes.

Axis letters: B batch · T time · C width
"""

from collections.abc import Iterable

import torch
from torch import nn

_64_BITS = 2**64 - 1


class RowDropout(nn.Module):
    """Dropout (1207.0580) for all places of a model, which draw from the rows' generators in computing order."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self._generators: list[torch.Generator] = []

    def seed(self, seed: int, rows: Iterable[int], device: torch.device) -> None:
        """Set the row numbers of the next forward pass; without any, masks come from torch's global generator."""
        if self.share:
            self._generators = [torch.Generator(device).manual_seed(row_seed(seed, row)) for row in rows]

    def states(self) -> list[torch.Tensor]:
        """What `restore` needs to draw the next masks once more; empty where nothing is drawn."""
        if not self.training or not self.share:
            return []
        assert self._generators, "the global generator cannot be taken back"
        return [generator.get_state() for generator in self._generators]

    def restore(self, states: list[torch.Tensor]) -> None:
        """Go back to where `states` was asked for, with the same rows."""
        for generator, state in zip(self._generators, states, strict=bool(states)):
            generator.set_state(state)

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """Zero a share of the values and scale up the rest, in training mode only."""
        return self.apply_mask(x_BTC, self.mask(x_BTC))

    def apply_mask(self, x_BTC: torch.Tensor, keep_BTC: torch.Tensor | None) -> torch.Tensor:
        """Apply a mask that `mask` drew."""
        return x_BTC if keep_BTC is None else x_BTC * keep_BTC * self.factor

    @property
    def factor(self) -> float:
        """What kept values are multiplied by."""
        return 1.0 / (1.0 - self.share)

    def mask(self, x_BTC: torch.Tensor) -> torch.Tensor | None:
        """Draw the next mask: True where a value is kept; None keeps all."""
        if not self.training or not self.share:
            return None
        keep_BTC = torch.empty(x_BTC.shape, dtype=torch.bool, device=x_BTC.device)
        if not self._generators:
            return keep_BTC.bernoulli_(1.0 - self.share)
        for keep_TC, generator in zip(keep_BTC, self._generators, strict=True):
            if x_BTC.device.type != "cpu":
                keep_TC.bernoulli_(1.0 - self.share, generator=generator)
                continue
            # 16 random bits for each value, four values a draw: five times as fast as `bernoulli_`.
            size = keep_TC.numel()
            words = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
            limit = min(round((1.0 - self.share) * 2**16) - 2**15, 2**15 - 1)
            torch.lt(words.view(torch.int16)[:size].view_as(keep_TC), limit, out=keep_TC)
        return keep_BTC


def row_seed(seed: int, row: int) -> int:
    """Mix a run's seed and a row's number to 63 bits by splitmix64 (Steele et al., OOPSLA 2014)."""
    state = 0
    for value in (seed, row):
        state = (state + 0x9E3779B97F4A7C15 * (value + 1)) & _64_BITS
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _64_BITS
        state ^= state >> 31
    return state >> 1
