"""Exact sums over groups of tokens: in any order, in any batches, groups add up to their total; knows no model.

Nats are added as whole multiples of 2**-24, the precision of a float32 near 1, so that addition never rounds.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.training.evaluator import Metrics

PARTS_PER_NAT = 2**24

_Ints = npt.NDArray[np.int64]


class Tally:
    """Sums of nats, tokens, right predictions and bytes, for every group; axis letters: N tokens, G groups."""

    def __init__(self, groups: int) -> None:
        self._sums_4G: _Ints = np.zeros((4, groups), dtype=np.int64)

    def add(
        self,
        groups_N: npt.NDArray[Any],
        nats_N: npt.NDArray[Any],
        bytes_N: npt.NDArray[Any],
        hits_N: npt.NDArray[Any] | None = None,
    ) -> None:
        """Add tokens; the group of each, its finite loss, the bytes it stands for, and whether it was predicted."""
        parts_N = np.rint(nats_N.astype(np.float64) * PARTS_PER_NAT).astype(np.int64)
        ones_N = np.ones(len(groups_N), dtype=np.int64)
        hits_N = np.zeros_like(ones_N) if hits_N is None else hits_N.astype(np.int64)
        for sums_G, values_N in zip(self._sums_4G, (parts_N, ones_N, hits_N, bytes_N), strict=True):
            np.add.at(sums_G, groups_N, values_N)

    def total(self) -> Metrics:
        """The figures of all groups together."""
        return _metrics(self._sums_4G.sum(axis=1))

    def merged(self, target_G: npt.NDArray[Any], count: int) -> dict[int, Metrics]:
        """The figures of coarser groups that hold any token.

        Args:
            target_G: the coarse group, from 0 to `count` - 1, that each group belongs to.
        """
        merged = np.zeros((4, count), dtype=np.int64)
        for coarse, fine in zip(merged, self._sums_4G, strict=True):
            np.add.at(coarse, target_G, fine)
        return {group: _metrics(merged[:, group]) for group in range(count) if merged[1, group]}


def _metrics(sums_4: _Ints) -> Metrics:
    parts, tokens, hits, text_bytes = (int(value) for value in sums_4)
    return Metrics(parts / PARTS_PER_NAT, tokens, hits, text_bytes)
