"""Shows a prepared dataset: lengths of samples, the mix of sources, and samples as the model sees them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.store.dataset_files import DatasetFiles, SplitArrays
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text or of special symbols, with or without loss."""

    text: str
    special: bool
    carries_loss: bool


@dataclass(frozen=True, slots=True)
class SampleView:
    """A sample, cut into segments."""

    split: str
    number: int
    source: str
    kind: str
    tokens: int
    loss_tokens: int
    segments: tuple[Segment, ...]


def length_histogram(files: DatasetFiles) -> list[tuple[int, int, int]]:
    """(shortest, longest, samples) in tokens by powers of two, over all splits."""
    lengths = np.concatenate([files.arrays(split).lengths() for split in files.metadata["splits"]])
    powers = np.floor(np.log2(np.maximum(lengths, 1))).astype(int)
    return [
        (2**power, 2 ** (power + 1) - 1, int((powers == power).sum()))
        for power in range(powers.min(), powers.max() + 1)
    ]


@dataclass(frozen=True, slots=True)
class SourceMix:
    """One source's share of the tokens in the train split's files, and of those in an epoch, by its weight."""

    source: str
    weight: float
    tokens: int
    share: float
    epoch_share: float


def source_mix(files: DatasetFiles) -> list[SourceMix]:
    """The share of each source in the train split."""
    arrays, sources = files.arrays("train"), files.metadata["sources"]
    tokens = np.bincount(arrays.index["source"], weights=arrays.lengths(), minlength=len(sources))
    drawn = tokens * np.array([source["weight"] for source in sources])
    return [
        SourceMix(source["name"], source["weight"], int(count), float(count / tokens.sum()), float(part / drawn.sum()))
        for source, count, part in zip(sources, tokens, drawn, strict=True)
    ]


def view_samples(files: DatasetFiles, count: int, *, split: str = "train") -> list[SampleView]:
    """Up to `count` samples, evenly spread over a split."""
    arrays = files.arrays(split)
    total = len(arrays.index)
    numbers = np.linspace(0, total - 1, num=min(count, total), dtype=np.int64)
    return [_view(files, arrays, split, int(number)) for number in np.unique(numbers)]


def _view(files: DatasetFiles, arrays: SplitArrays, split: str, number: int) -> SampleView:
    sample = arrays.index[number]
    start = int(sample["offset"])
    end = start + int(arrays.lengths()[number])
    ids = arrays.tokens[start:end].tolist()
    bos = files.tokenizer.bos_id
    mask = [token != bos for token in ids] if arrays.mask is None else arrays.mask[start:end].astype(bool).tolist()
    return SampleView(
        split=split,
        number=number,
        source=files.metadata["sources"][int(sample["source"])]["name"],
        kind=KINDS[int(sample["kind"])],
        tokens=len(ids),
        loss_tokens=sum(mask),
        segments=tuple(_segments(ids, mask, files.tokenizer)),
    )


def _segments(ids: list[int], mask: list[bool], tokenizer: Tokenizer) -> Iterator[Segment]:
    specials = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.end_id, *tokenizer.role_ids.values()}
    marked = zip(ids, mask, strict=True)
    for (special, loss), run in groupby(marked, key=lambda pair: (pair[0] in specials, pair[1])):
        tokens = [token for token, _ in run]
        text = "".join(map(tokenizer.piece, tokens)) if special else tokenizer.decode(tokens)
        yield Segment(text, special, loss)
