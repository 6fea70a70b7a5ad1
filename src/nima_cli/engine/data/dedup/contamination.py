"""Finds runs of tokens that a held-out split shares with the train split, and reports where they come from.

Windows of tokens are compared by a rolling hash. To keep memory small the held-out side is indexed twice: first only
every 25th window of 26 tokens (any run of 50 holds one of these), then the windows of 50 around those that the train
split has too.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.corpus import Corpus, Numbers
from nima_cli.engine.data.dedup.rolling_hash import U64, scattered, window_hashes
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.files import explaining

RUN_TOKENS = 50
_STRIDE = RUN_TOKENS // 2
_ANCHOR = RUN_TOKENS - _STRIDE + 1
_FILTER_BITS = 24
# Hashing takes about 100 bytes a token, and larger blocks are no faster.
_BLOCK_TOKENS = 2**17
EXAMPLES = 10
_SHOWN_TOKENS = 24
# Boilerplate of real documentation makes 5 to 12 % of val and test stand in train as well.
MUCH = 0.25

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """The token ids of one split in a file."""

    path: Path
    dtype: np.dtype[Any]
    documents: Numbers  # [d], their numbers in the corpus, in order
    lengths: Numbers  # [d], the tokens of each document, boundary symbols included


@dataclass(frozen=True, slots=True)
class TokenBlock:
    """Consecutive documents of a split."""

    tokens: npt.NDArray[np.uint32]  # [t], without boundary symbols
    documents: Numbers  # [t], the document that each token belongs to


@dataclass(frozen=True, slots=True)
class SharedRun:
    """A run of `RUN_TOKENS` and more tokens of a held-out document, all of whose windows are in the train split."""

    document: int
    train_document: int  # one that holds the run's first window
    tokens: int
    ids: tuple[int, ...]  # the first `RUN_TOKENS`


Reader = Callable[[], Iterator[TokenBlock]]


def contamination_report(splits: Mapping[str, EncodedSplit], corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    """The `leaks` of the metadata: runs of `RUN_TOKENS` and more tokens that train shares with val and with test.

    For each held-out split: `runs`, the `tokens` in them, the `documents` that hold them, `near_duplicates` (runs
    between documents of one near-duplicate cluster), `sources` (runs by held-out and train source), and the longest
    runs as `examples`.
    """
    boundaries = np.array([tokenizer.bos_id, tokenizer.eos_id])
    readers = {name: partial(_blocks, split, boundaries) for name, split in splits.items()}
    train = readers.pop("train")
    found = {name: _summary(shared_runs(held_out, train), corpus, tokenizer) for name, held_out in readers.items()}
    return {"run_tokens": RUN_TOKENS, **found}


def contamination_warning(metadata: Mapping[str, Any]) -> str | None:
    """What to say where much of val or test also stands in train; None if little does."""
    leaks, splits = metadata.get("leaks") or {}, metadata["splits"]  # earlier versions wrote no `leaks`
    shares = {name: leaks[name]["tokens"] / max(1, splits[name]["tokens"]) for name in ("val", "test") if name in leaks}
    found = [f"{share:.0%} of the tokens of {name}" for name, share in shares.items() if share >= MUCH]
    if not found:
        return None
    return f"{' and '.join(found)} also stand in train: a model that learns by heart looks good there"


def _blocks(split: EncodedSplit, boundaries: Numbers) -> Iterator[TokenBlock]:
    place = np.cumsum(split.lengths) // _BLOCK_TOKENS
    with explaining(split.path, "read"), split.path.open("rb") as stream:
        for group in np.split(np.arange(len(place)), np.flatnonzero(np.diff(place)) + 1):
            lengths = split.lengths[group]
            tokens = np.fromfile(stream, dtype=split.dtype, count=int(lengths.sum())).astype(np.uint32)
            documents = np.repeat(split.documents[group], lengths)
            content = ~np.isin(tokens, boundaries)
            yield TokenBlock(tokens[content], documents[content])


def _summary(runs: Iterator[SharedRun], corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    numbers = array("q")  # of each run: its document, that of the train split, its tokens

    def counted() -> Iterator[SharedRun]:
        for run in runs:
            numbers.extend((run.document, run.train_document, run.tokens))
            yield run

    longest = heapq.nsmallest(EXAMPLES, counted(), key=lambda run: (-run.tokens, run.document))
    held_out, learned_from, tokens = np.array(numbers, dtype=np.int64).reshape(-1, 3).T
    clusters, source = corpus.clusters, corpus.table["source"]
    pairs = Counter(zip(source[held_out].tolist(), source[learned_from].tolist(), strict=True))
    return {
        "runs": len(tokens),
        "tokens": int(tokens.sum()),
        "documents": len(np.unique(held_out)),
        "near_duplicates": int((clusters[held_out] == clusters[learned_from]).sum()),
        "sources": [
            {"source": corpus.reports[held].name, "train_source": corpus.reports[learned].name, "runs": count}
            for (held, learned), count in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "examples": [_example(run, corpus, tokenizer) for run in longest],
    }


def _example(run: SharedRun, corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    held, learned = corpus.documents(np.array([run.document, run.train_document]))
    text = " ".join(tokenizer.decode(run.ids[:_SHOWN_TOKENS]).split())
    return {"where": held.where, "train_where": learned.where, "tokens": run.tokens, "begins": text}


def shared_runs(held_out: Reader, train: Reader) -> Iterator[SharedRun]:
    """Every maximal shared run, in the order of the held-out split; both readers are called more than once."""
    wanted = _sorted_unique(hashes[valid] for hashes, valid in map(_anchors, held_out()))
    wanted = wanted[_first_documents(wanted, train, _ANCHOR) >= 0]
    wanted = _sorted_unique(_around(block, wanted) for block in held_out()) if len(wanted) else wanted
    where = _first_documents(wanted, train, RUN_TOKENS)
    common, origin = wanted[where >= 0], where[where >= 0]
    if len(common):
        for block in held_out():
            yield from _runs(block, common, origin)


def _windows(block: TokenBlock, width: int) -> tuple[U64, Mask]:
    """A hash for the window that begins at each token, and whether the window stays in one document."""
    hashes = window_hashes(scattered(block.tokens), width)
    return hashes, block.documents[: len(hashes)] == block.documents[width - 1 :]


def _anchors(block: TokenBlock) -> tuple[U64, Mask]:
    hashes, valid = _windows(block, _ANCHOR)
    return hashes[::_STRIDE], valid[::_STRIDE]


def _sorted_unique(parts: Iterable[U64]) -> U64:
    # As `np.unique` of all parts, with no more than two copies at a time: they may be as many as the tokens.
    held = list(parts)
    found = np.concatenate([*held, np.zeros(0, dtype=np.uint64)])
    held.clear()
    found.sort()
    new = np.ones(len(found), dtype=bool)
    new[1:] = found[1:] != found[:-1]
    return found[new]


def _first_documents(wanted: U64, train: Reader, width: int) -> Numbers:
    """For each of the sorted hashes `wanted` the first document of the train split that has it, or -1."""
    where = np.full(len(wanted), -1, dtype=np.int64)
    sieve = np.zeros(2**_FILTER_BITS, dtype=bool)
    shift = np.uint64(64 - _FILTER_BITS)
    sieve[wanted >> shift] = True
    for block in train() if len(wanted) else ():
        hashes, valid = _windows(block, width)
        maybe = np.flatnonzero(valid & sieve[hashes >> shift])
        slots = np.searchsorted(wanted, hashes[maybe])
        slots[slots == len(wanted)] = 0
        equal = wanted[slots] == hashes[maybe]
        slots, documents = slots[equal], block.documents[maybe[equal]]
        # Written backwards, so that the first occurrence of each hash is the last to be written.
        new = where[slots] < 0
        where[slots[new][::-1]] = documents[new][::-1]
    return where


def _around(block: TokenBlock, hits: U64) -> U64:
    """Hashes of the windows of `RUN_TOKENS` that hold an anchor among `hits`."""
    anchors, inside = _anchors(block)
    places = np.flatnonzero(inside & np.isin(anchors, hits)) * _STRIDE
    hashes, valid = _windows(block, RUN_TOKENS)
    near = np.zeros(len(hashes) + RUN_TOKENS, dtype=bool)
    for back in range(_STRIDE):
        near[np.maximum(places - back, 0)] = True
    return hashes[valid & near[: len(hashes)]]


def _runs(block: TokenBlock, common: U64, origin: Numbers) -> Iterator[SharedRun]:
    hashes, valid = _windows(block, RUN_TOKENS)
    slots = np.minimum(np.searchsorted(common, hashes), len(common) - 1)
    shared = valid & (common[slots] == hashes)
    documents = block.documents[: len(hashes)]
    goes_on = shared[1:] & shared[:-1] & (documents[1:] == documents[:-1])
    starts = np.flatnonzero(shared & ~np.append(False, goes_on)[: len(hashes)])
    ends = np.flatnonzero(shared & ~np.append(goes_on, False)[: len(hashes)]) + RUN_TOKENS
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        ids = tuple(block.tokens[start : start + RUN_TOKENS].tolist())
        yield SharedRun(int(documents[start]), int(origin[slots[start]]), end - start, ids)
