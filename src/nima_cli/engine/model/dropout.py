"""Dropout whose masks belong to rows of the data, not to batches or processes.

Each row of a batch draws its masks from a generator of its own, seeded by (seed, row number) alone. So how rows are
grouped into micro-batches, how many processes share them, and what else draws random numbers changes no mask.

Axis letters: B batch · T time · C width
"""

from collections.abc import Iterable

import torch
from torch import nn

_64_BITS = 0xFFFFFFFFFFFFFFFF


class RowDropout(nn.Module):
    """One object for all places of a model that drop: they draw in the order in which the data meets them."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self._generators: list[torch.Generator] = []

    def seed(self, seed: int, rows: Iterable[int], device: torch.device) -> None:
        """The next forward pass is about the rows with these numbers, in this order."""
        if self.share:
            self._generators = [torch.Generator(device).manual_seed(row_seed(seed, row)) for row in rows]

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """Zero a share of the numbers and scale up the rest (1207.0580), in training mode only."""
        return self.apply_mask(x_BTC, self.mask(x_BTC))

    def apply_mask(self, x_BTC: torch.Tensor, keep_BTC: torch.Tensor | None) -> torch.Tensor:
        """The same with a mask that has been drawn."""
        return x_BTC if keep_BTC is None else x_BTC * keep_BTC * self.factor

    @property
    def factor(self) -> float:
        """By which what is kept is scaled up."""
        return 1.0 / (1.0 - self.share)

    def mask(self, x_BTC: torch.Tensor) -> torch.Tensor | None:
        """What to keep of the next numbers, in bool; None means all.

        A model that was never told its rows uses torch's global generator.
        """
        if not self.training or not self.share:
            return None
        keep_BTC = torch.empty(x_BTC.shape, dtype=torch.bool, device=x_BTC.device)
        if not self._generators:
            return keep_BTC.bernoulli_(1.0 - self.share)
        for keep_TC, generator in zip(keep_BTC, self._generators, strict=True):
            if x_BTC.device.type == "cpu":
                self._fill(keep_TC, generator)
            else:
                keep_TC.bernoulli_(1.0 - self.share, generator=generator)
        return keep_BTC

    def _fill(self, keep_TC: torch.Tensor, generator: torch.Generator) -> None:
        """The same as `bernoulli_`, from 16 random bits a number and so four numbers a draw: five times as fast."""
        words = torch.empty(-(-keep_TC.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
        limit = min(round((1.0 - self.share) * 2**16) - 2**15, 2**15 - 1)
        torch.lt(words.view(torch.int16)[: keep_TC.numel()].view_as(keep_TC), limit, out=keep_TC)


def row_seed(seed: int, row: int) -> int:
    """63 bits from a run's seed and a row's number: one round of splitmix64 (Steele et al., OOPSLA 2014) for each."""
    state = 0
    for value in (seed, row):
        state = (state + 0x9E3779B97F4A7C15 * (value + 1)) & _64_BITS
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _64_BITS
        state ^= state >> 31
    return state >> 1
