"""Batches of a prepared dataset, in an order that is a pure function of (seed, row).

Axis letters: B batch, T time (context length), S samples.

An epoch joins its samples in random order, cuts the join into rows of T+1 tokens, at a random phase and with
wrap-around, and shuffles the rows. The generator is counter-based and keyed by (seed, epoch) (Philox, Salmon et al.,
SC 2011), so a run continues from the number of its next row alone.
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
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.errors import DataError

IGNORED = -100  # the target that cross-entropy ignores

_Ints = npt.NDArray[np.int64]
_WEIGHT_STREAM = 2**64 - 1  # an epoch that no run reaches; keys the draw that all epochs share


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from, both int64; a target is the next token, or -100 if it carries no loss."""

    inputs_BT: torch.Tensor
    targets_BT: torch.Tensor


@dataclass(frozen=True, slots=True)
class _EpochPlan:
    """The samples of an epoch in order, where each starts in their join, and the order of the rows cut from it.

    Numbers of samples and rows are of the narrowest type, for this is all that memory holds of each.
    """

    order_S: npt.NDArray[np.unsignedinteger]
    starts_S: _Ints
    tokens: int
    phase: int
    rows: npt.NDArray[np.unsignedinteger]


class TokenDataset:
    """One split, whose numbers of `tokens` and `samples` it knows.

    Args:
        weights: how often an epoch holds each source; all 1 outside the train split.
    """

    def __init__(self, arrays: SplitArrays, weights: Sequence[float], tokenizer: Tokenizer) -> None:
        self._arrays, self._tokenizer = arrays, tokenizer
        self._weights = np.asarray(weights, dtype=np.float64)
        self._plans: dict[tuple[int, int, int], _EpochPlan] = {}
        self.tokens = len(arrays.tokens)
        self.samples = len(arrays.index)
        tokens = np.bincount(arrays.index["source"], weights=arrays.lengths(), minlength=len(weights))
        self._weighted_tokens = round(math.fsum(self._weights * tokens), 6)

    def sequences_per_epoch(self, context_length: int) -> int:
        """Rows of `context_length` targets that cover the weighted split once."""
        return max(1, math.ceil(self._weighted_tokens / context_length))

    def batch(self, rows: Sequence[int], *, context_length: int, seed: int) -> Batch:
        """The rows with these numbers, counted from 0 over all epochs.

        A row depends on its number, `context_length` and `seed` alone, not on the batch or the number of processes.
        """
        per_epoch = self.sequences_per_epoch(context_length)
        epochs, numbers = np.divmod(np.asarray(rows, dtype=np.int64), per_epoch)
        places = np.empty((len(numbers), context_length + 1), dtype=np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            plan = self._plan(seed, int(epoch), context_length)
            joined, order = self._join(plan, numbers[chosen], context_length)
            offsets = self._arrays.index["offset"][plan.order_S[order]].astype(np.int64)
            places[chosen] = offsets + joined - plan.starts_S[order]
        return self._gather(places)

    def samples_in(self, rows: Sequence[int], *, context_length: int, seed: int) -> list[int]:
        """The numbers of the samples, in file order, of which these rows hold tokens."""
        found: set[int] = set()
        for row in rows:
            epoch, number = divmod(row, self.sequences_per_epoch(context_length))
            plan = self._plan(seed, epoch, context_length)
            _, order = self._join(plan, np.array([number]), context_length)
            found.update(plan.order_S[order[0]].tolist())
        return sorted(found)

    def windows(self, context_length: int) -> int:
        """Evaluation windows of the split."""
        return max(1, math.ceil((self.tokens - 1) / context_length))

    def windows_with_loss(self, context_length: int) -> Sequence[int]:
        """The numbers of the windows with a target that carries loss; others cannot evaluate a model."""
        mask = self._arrays.mask
        if mask is None or self.tokens < 2:
            return range(self.windows(context_length))
        starts = np.arange(0, self.tokens - 1, context_length)
        numbers: list[int] = np.flatnonzero(np.maximum.reduceat(mask[1:], starts)).tolist()
        return numbers

    def window_batch(self, indices: Sequence[int], context_length: int) -> Batch:
        """Windows in file order, in which each token but `<|bos|>` is a target once; the last window is padded."""
        starts = np.asarray(indices, dtype=np.int64)[:, None] * context_length
        places = starts + np.arange(context_length + 1)
        outside = places >= self.tokens
        batch = self._gather(np.where(outside, 0, places))
        batch.inputs_BT[torch.from_numpy(outside[:, :-1])] = self._tokenizer.pad_id
        batch.targets_BT[torch.from_numpy(outside[:, 1:])] = IGNORED
        return batch

    def _join(self, plan: _EpochPlan, rows: _Ints, context_length: int) -> tuple[_Ints, _Ints]:
        """Where the tokens of rows are in the join of an epoch, and in which of its samples; both [rows, T+1]."""
        starts = plan.phase + plan.rows[rows].astype(np.int64) * context_length
        joined = (starts[:, None] + np.arange(context_length + 1)) % plan.tokens
        return joined, np.searchsorted(plan.starts_S, joined, side="right") - 1

    def _gather(self, places: _Ints) -> Batch:
        tokens = self._arrays.tokens[places].astype(np.int64)
        if tokens.max() >= self._tokenizer.vocab_size:
            raise DataError(f"the dataset holds token {tokens.max()}, outside its vocabulary", hint=AGAIN)
        targets = tokens[:, 1:].copy()
        mask = self._arrays.mask
        targets[(targets == self._tokenizer.bos_id) if mask is None else (mask[places[:, 1:]] == 0)] = IGNORED
        return Batch(torch.from_numpy(np.ascontiguousarray(tokens[:, :-1])), torch.from_numpy(targets))

    def _plan(self, seed: int, epoch: int, context_length: int) -> _EpochPlan:
        """The plan of an epoch; two are kept, because a batch may lie across the end of an epoch."""
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
            rows=generator.permutation(_numbers(self.sequences_per_epoch(context_length))),
        )

    def _draws(self, seed: int, epoch: int) -> _Ints:
        """How often each sample occurs in this epoch.

        A sample of weight w that starts at u in [0, 1) has been drawn floor(e*w + u) times before epoch e. So an epoch
        holds it floor(w) or ceil(w) times, and all samples of a source equally often over the epochs. The starts are
        spread evenly over a source's samples, so that epochs differ by one sample at most.
        """
        source_S = self._arrays.index["source"]
        draws_S: _Ints
        if (self._weights % 1.0 == 0.0).all():  # the starts make no difference
            draws_S = self._weights.astype(np.int64)[source_S]
            return draws_S
        weights_S = self._weights[source_S]
        shuffled = np.lexsort((_generator(seed, _WEIGHT_STREAM).random(self.samples), source_S))
        _, first, count = np.unique(source_S[shuffled], return_index=True, return_counts=True)
        start_S = np.empty(self.samples)
        start_S[shuffled] = (np.arange(self.samples) - np.repeat(first, count) + 0.5) / np.repeat(count, count)
        before, after = epoch * weights_S + start_S, (epoch + 1) * weights_S + start_S
        draws_S = np.floor(after).astype(np.int64) - np.floor(before).astype(np.int64)
        return draws_S


class PreparedDataset(DatasetFiles):
    """A dataset to train on; made by `open_dataset`.

    Attributes:
        verification: of its large files, which goes on; their readers call its `require` now and then.
    """

    def __init__(self, files: DatasetFiles) -> None:
        super().__init__(files.folder, files.metadata, files.tokenizer, files.sha256, files.unchecked)
        self.verification = Verification(files.unchecked)

    @functools.cached_property
    def conversations(self) -> int:
        """Samples of the train split that are questions and answers or chats."""
        return int((self.arrays("train").index["kind"] >= KINDS.index("qa")).sum())

    def facts(self) -> dict[str, Any]:
        """What a checkpoint tells about its data: the sizes of sources and splits, and no path."""
        of_source, of_split = ("name", "format", "kept", "bytes", "weight"), ("documents", "tokens", "bytes")
        splits = self.metadata["splits"].items()
        return {
            "sources": [{key: source[key] for key in of_source} for source in self.metadata["sources"]],
            "splits": {name: {key: split[key] for key in of_split} for name, split in splits},
        }

    def split(self, name: str) -> TokenDataset:
        """Open `train`, `val` or `test`; the weights of sources apply to `train` only."""
        weights = [float(source["weight"]) if name == "train" else 1.0 for source in self.metadata["sources"]]
        return TokenDataset(self.arrays(name), weights, self.tokenizer)


def open_dataset(folder: Path, *, check: bool = True) -> PreparedDataset:
    """Open a prepared dataset and check its files, large ones by its `verification` while the work begins.

    Args:
        check: false if another process of this machine checks them; then only the metadata is read.

    Raises:
        DataError: not a prepared dataset, or a file is missing, altered or from a newer nima; names the file.
    """
    return PreparedDataset(read_dataset(folder, large_later=True, check=check))


def _numbers(count: int) -> npt.NDArray[np.unsignedinteger]:
    """0 to `count` - 1, in the narrowest type that holds them."""
    return np.arange(count, dtype=np.min_scalar_type(count))


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
