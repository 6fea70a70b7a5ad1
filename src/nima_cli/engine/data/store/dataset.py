"""Batches of a prepared dataset, in an order that is a pure function of (seed, row).

Legend: B batch, T time (context length), S samples.

An epoch joins its samples in a random order and cuts the join into rows of T+1 tokens, at a random phase and with
wrap-around; then the rows are shuffled. All of it comes from a counter-based generator keyed by (seed, epoch)
(Philox, Salmon et al., SC 2011), so nothing needs to be remembered to continue a run: the next row number is all.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.store.dataset_files import AGAIN, DatasetFiles, SplitArrays, Verification, read_dataset
from nima_cli.errors import DataError

IGNORED = -100  # the target that cross-entropy leaves out

_Ints = npt.NDArray[np.int64]
_WEIGHT_STREAM = 2**64 - 1  # an epoch that no run reaches: keys the draw that all epochs share


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from, both int64; a target is the input's next token, or -100 where it carries no loss."""

    inputs_BT: torch.Tensor
    targets_BT: torch.Tensor


@dataclass(frozen=True, slots=True)
class _EpochPlan:
    """One epoch: its samples in order, where each starts in their join, and the order of the rows cut from it.

    It is all that is held of each sample, so numbers of samples and rows are as narrow as they can be.
    """

    order_S: npt.NDArray[np.unsignedinteger]
    starts_S: _Ints
    tokens: int
    phase: int
    rows: npt.NDArray[np.unsignedinteger]


class TokenDataset:
    """One split over memory maps.

    Attributes:
        tokens: tokens of the split.
        samples: samples of the split.
    """

    def __init__(
        self, arrays: SplitArrays, *, weights: Sequence[float], bos_id: int, pad_id: int, vocab_size: int
    ) -> None:
        """Take the mapped files of one split; `weights` has a number for each source, all 1 outside the train split."""
        self._arrays = arrays
        self._bos_id, self._pad_id, self._vocab_size = bos_id, pad_id, vocab_size
        self._weights = np.asarray(weights, dtype=np.float64)
        self._plans: dict[tuple[int, int, int], _EpochPlan] = {}
        self.tokens = len(arrays.tokens)
        self.samples = len(arrays.index)
        tokens = np.bincount(arrays.index["source"], weights=arrays.lengths(), minlength=len(weights))
        self._weighted_tokens = round(math.fsum(self._weights * tokens), 6)

    def rows_per_epoch(self, context_length: int) -> int:
        """Rows of `context_length` targets that cover the weighted split once; the same in every epoch."""
        return max(1, math.ceil(self._weighted_tokens / context_length))

    def batch(self, rows: Sequence[int], *, context_length: int, seed: int) -> Batch:
        """The rows with these numbers, counted 0, 1, 2, ... over all epochs.

        A row depends on its number, `context_length` and `seed` alone: not on the batch, nor on how many processes
        share the work.
        """
        per_epoch = self.rows_per_epoch(context_length)
        numbers = np.asarray(rows, dtype=np.int64)
        epochs = numbers // per_epoch
        places = np.empty((len(numbers), context_length + 1), dtype=np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            plan = self._plan(seed, int(epoch), context_length)
            places[chosen] = self._places(plan, numbers[chosen] % per_epoch, context_length)
        return self._gather(places)

    def samples_in(self, rows: Sequence[int], *, context_length: int, seed: int) -> list[int]:
        """The numbers of the samples that these rows hold tokens of, counted from 0 in file order."""
        per_epoch = self.rows_per_epoch(context_length)
        found: set[int] = set()
        for row in rows:
            plan = self._plan(seed, row // per_epoch, context_length)
            _, order = self._join(plan, np.array([row % per_epoch]), context_length)
            found.update(plan.order_S[order[0]].tolist())
        return sorted(found)

    def windows(self, context_length: int) -> int:
        """Evaluation windows of the split."""
        return max(1, math.ceil((self.tokens - 1) / context_length))

    def windows_with_loss(self, context_length: int) -> Sequence[int]:
        """The numbers of those windows that hold a target that carries loss; no other one says anything of a model."""
        mask, count = self._arrays.mask, self.windows(context_length)
        if mask is None or self.tokens < 2:
            return range(count)
        starts = np.arange(0, self.tokens - 1, context_length)
        numbers: list[int] = np.flatnonzero(np.maximum.reduceat(mask[1:], starts)).tolist()
        return numbers

    def window_batch(self, indices: Sequence[int], context_length: int) -> Batch:
        """Windows that follow each other in file order: every token but `<|bos|>` is a target exactly once.

        The last window is filled up with `<|pad|>` inputs and targets of -100.
        """
        starts = np.asarray(indices, dtype=np.int64)[:, None] * context_length
        places = starts + np.arange(context_length + 1)
        outside = places >= self.tokens
        batch = self._gather(np.where(outside, 0, places))
        batch.inputs_BT[torch.from_numpy(outside[:, :-1])] = self._pad_id
        batch.targets_BT[torch.from_numpy(outside[:, 1:])] = IGNORED
        return batch

    def _join(self, plan: _EpochPlan, rows: _Ints, context_length: int) -> tuple[_Ints, _Ints]:
        """Where the tokens of rows are in the join of an epoch, and in which of its samples; both (rows, T+1)."""
        starts = plan.phase + plan.rows[rows].astype(np.int64) * context_length
        joined = (starts[:, None] + np.arange(context_length + 1)) % plan.tokens
        return joined, np.searchsorted(plan.starts_S, joined, side="right") - 1

    def _places(self, plan: _EpochPlan, rows: _Ints, context_length: int) -> _Ints:
        """Places in the token file of the given rows of one epoch, shape (rows, T+1)."""
        joined, order = self._join(plan, rows, context_length)
        offsets = self._arrays.index["offset"][plan.order_S[order]].astype(np.int64)
        places: _Ints = offsets + joined - plan.starts_S[order]
        return places

    def _gather(self, places: _Ints) -> Batch:
        tokens = self._arrays.tokens[places].astype(np.int64)
        if tokens.max() >= self._vocab_size:
            raise DataError(f"the dataset holds token {tokens.max()}, outside its vocabulary", hint=AGAIN)
        targets = tokens[:, 1:].copy()
        mask = self._arrays.mask
        targets[(targets == self._bos_id) if mask is None else (mask[places[:, 1:]] == 0)] = IGNORED
        return Batch(torch.from_numpy(np.ascontiguousarray(tokens[:, :-1])), torch.from_numpy(targets))

    def _plan(self, seed: int, epoch: int, context_length: int) -> _EpochPlan:
        """The epoch's plan; the last two are kept, because a batch may lie across the end of an epoch."""
        key = (seed, epoch, context_length)
        if key not in self._plans:
            while len(self._plans) > 1:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = self._make_plan(seed, epoch, context_length)
        return self._plans[key]

    def _make_plan(self, seed: int, epoch: int, context_length: int) -> _EpochPlan:
        generator = _generator(seed, epoch)
        drawn_S = np.repeat(_numbers(self.samples), self._draws(seed, epoch))
        order_S = generator.permutation(drawn_S if len(drawn_S) else _numbers(self.samples))
        lengths_S = self._arrays.lengths()[order_S]
        starts_S = np.cumsum(lengths_S)
        tokens = int(starts_S[-1])
        starts_S -= lengths_S
        return _EpochPlan(
            order_S=order_S,
            starts_S=starts_S,
            tokens=tokens,
            phase=int(generator.integers(tokens)),
            rows=generator.permutation(_numbers(self.rows_per_epoch(context_length))),
        )

    def _draws(self, seed: int, epoch: int) -> _Ints:
        """How often each sample occurs in this epoch.

        A sample of weight w that starts at u in [0, 1) has been drawn floor(e*w + u) times before epoch e. So whole
        weights are met in every epoch, and fractions over the epochs, each sample as often as any other. The starts
        are spread evenly over a source's samples, so that every epoch also gets the same number of them, up to one.
        """
        source_S = self._arrays.index["source"]
        draws: _Ints
        if (self._weights % 1.0 == 0.0).all():  # whatever the starts are, they need not be drawn
            draws = self._weights.astype(np.int64)[source_S]
            return draws
        weights_S = self._weights[source_S]
        shuffled = np.lexsort((_generator(seed, _WEIGHT_STREAM).random(self.samples), source_S))
        _, first, count = np.unique(source_S[shuffled], return_index=True, return_counts=True)
        start_S = np.empty(self.samples)
        start_S[shuffled] = (np.arange(self.samples) - np.repeat(first, count) + 0.5) / np.repeat(count, count)
        before, after = epoch * weights_S + start_S, (epoch + 1) * weights_S + start_S
        draws = np.floor(after).astype(np.int64) - np.floor(before).astype(np.int64)
        return draws


class PreparedDataset(DatasetFiles):
    """An opened dataset.

    Attributes:
        verification: of its large files, which goes on; whoever reads them asks it now and then.
    """

    def __init__(self, files: DatasetFiles) -> None:
        """Wrap verified files; use `open_dataset` instead."""
        super().__init__(files.folder, files.metadata, files.tokenizer, files.sha256, files.unchecked)
        self.verification = Verification(files.unchecked)

    @functools.cached_property
    def conversations(self) -> int:
        """Samples of the train split that are questions and answers or chats."""
        return int((self.arrays("train").index["kind"] >= KINDS.index("qa")).sum())

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of the data that it learned from: sources and splits with their sizes, and no path."""
        sources, splits = self.metadata["sources"], self.metadata["splits"]
        of_source, of_split = ("name", "format", "kept", "bytes", "weight"), ("documents", "tokens", "bytes")
        return {
            "sources": [{key: source[key] for key in of_source} for source in sources],
            "splits": {name: {key: split[key] for key in of_split} for name, split in splits.items()},
        }

    def split(self, name: str) -> TokenDataset:
        """Open `train`, `val` or `test`; the weights of sources act on `train` only."""
        weights = [float(source["weight"]) if name == "train" else 1.0 for source in self.metadata["sources"]]
        tokenizer = self.tokenizer
        return TokenDataset(
            self.arrays(name),
            weights=weights,
            bos_id=tokenizer.bos_id,
            pad_id=tokenizer.pad_id,
            vocab_size=tokenizer.vocab_size,
        )


def open_dataset(folder: Path, *, check: bool = True) -> PreparedDataset:
    """Open a prepared dataset and check every file of it; large ones while the work begins, by its `verification`.

    Args:
        check: false where another process of this machine does that; then only the metadata is looked at.

    Raises:
        DataError: not a prepared dataset, or a file is missing, altered or from a newer nima; names the file.
    """
    return PreparedDataset(read_dataset(folder, large_later=True, check=check))


def _numbers(count: int) -> npt.NDArray[np.unsignedinteger]:
    """0 to `count` - 1, in the narrowest type that holds them."""
    return np.arange(count, dtype=np.min_scalar_type(count))


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
