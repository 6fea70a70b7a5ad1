"""Says what the held-out splits of a dataset share with its train split, and where it comes from."""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.corpus import Corpus
from nima_cli.engine.data.dedup.contamination import RUN_TOKENS, SharedRun, TokenBlock, shared_runs
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.files import explain

EXAMPLES = 10
# Hashing takes about 100 bytes a token, and larger blocks are no faster.
_BLOCK_TOKENS = 2**17
_SHOWN_TOKENS = 24
# Boilerplate of real documentation makes 5 to 12 % of val and test stand in train as well.
MUCH = 0.25

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """One split that has been written.

    Attributes:
        path: its token ids.
        documents: int64 [d], the numbers of its documents in the corpus, in order.
        lengths: int64 [d], the tokens of each document, boundary symbols included.
    """

    path: Path
    dtype: np.dtype[Any]
    documents: Numbers
    lengths: Numbers


def contamination_report(splits: Mapping[str, EncodedSplit], corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    """The `leaks` of the metadata: runs of `RUN_TOKENS` and more tokens that train shares with val and with test.

    For each held-out split: `runs`, the `tokens` in them, the `documents` that hold them, `near_duplicates` (runs
    between documents of one near-duplicate cluster), `sources` (runs by held-out and train source), and the longest
    runs as `examples`.
    """
    boundaries = np.array([tokenizer.bos_id, tokenizer.eos_id])
    train = partial(_blocks, splits["train"], boundaries)
    report: dict[str, Any] = {"run_tokens": RUN_TOKENS}
    for name, split in splits.items():
        if name != "train":
            runs = shared_runs(partial(_blocks, split, boundaries), train)
            report[name] = _summary(runs, corpus, tokenizer)
    return report


def contamination_warning(metadata: Mapping[str, Any]) -> str | None:
    """What to say where much of val or test also stands in train, so that their figures say little; else None.

    Args:
        metadata: of a prepared dataset, of an earlier version too.
    """
    leaks, splits = metadata.get("leaks") or {}, metadata["splits"]
    shares = {name: leaks[name]["tokens"] / max(1, splits[name]["tokens"]) for name in ("val", "test") if name in leaks}
    found = [f"{share:.0%} of the tokens of {name}" for name, share in shares.items() if share >= MUCH]
    if not found:
        return None
    return f"{' and '.join(found)} also stand in train: a model that learns by heart looks good there"


def _blocks(split: EncodedSplit, boundaries: npt.NDArray[np.int64]) -> Iterator[TokenBlock]:
    try:
        with split.path.open("rb") as stream:
            place = np.cumsum(split.lengths) // _BLOCK_TOKENS
            groups = np.split(np.arange(len(place)), np.flatnonzero(place[1:] != place[:-1]) + 1)
            for group in groups:
                lengths = split.lengths[group]
                tokens = np.fromfile(stream, dtype=split.dtype, count=int(lengths.sum())).astype(np.uint32)
                documents = np.repeat(split.documents[group], lengths)
                content = ~np.isin(tokens, boundaries)
                yield TokenBlock(tokens[content], documents[content])
    except OSError as error:
        raise explain(error, split.path, "read") from error


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
