"""Removes duplicates from a corpus and clusters what is alike."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.corpus import Corpus, Numbers, Place
from nima_cli.engine.data.dedup.near_duplicates import cluster_duplicates, jaccard, shingles
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.parallel import Mapper
from nima_cli.engine.data.store.document_store import read_documents
from nima_cli.errors import DataError
from nima_cli.events import Event, Progress

MIN_DOCUMENTS = 3
_PAIRS_IN_A_TASK = 512


def remove_duplicates(config: DataConfig, corpus: Corpus, run: Mapper) -> Generator[Event, None, None]:
    """Remove exact and near duplicates as `config.dedupe` asks; the earliest of each stays."""
    if config.dedupe == "off":
        return
    numbers = corpus.numbers()
    yield Progress("dedupe", 0, len(numbers), "documents")
    first = numbers[first_of_each(corpus.table["key"][numbers])]
    yield from _drop(corpus, numbers[first != numbers], "says the same as another", "duplicate")
    if config.dedupe == "near":
        again = yield from _near_duplicates(corpus, run)
        yield from _drop(corpus, again, "says nearly the same as another", "near_duplicate")
    yield Progress("dedupe", len(numbers), len(numbers), "documents")


def _drop(corpus: Corpus, numbers: Numbers, what: str, reason: str) -> Iterator[Event]:
    for number, document in zip(numbers.tolist(), corpus.documents(numbers), strict=True):
        yield corpus.drop(number, Diagnostic(document.where, what, reason))


def first_of_each(keys: npt.NDArray[np.uint64]) -> Numbers:
    """For each document the number of the first with the same `content_key`, [n, 2]: its own where it is new."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    sorted_keys = keys[order]
    begins = np.arange(len(keys))
    begins[1:][(sorted_keys[1:] == sorted_keys[:-1]).all(axis=1)] = 0
    first = np.empty(len(keys), dtype=np.int64)
    # The sort is stable, so the first of a group is its smallest number.
    first[order] = order[np.maximum.accumulate(begins)]
    return first


def similarities(store: Path, pairs: Sequence[tuple[Place, Place]]) -> list[float]:
    places = sorted({place for pair in pairs for place in pair})
    runs = dict(zip(places, map(shingles, read_documents(store, places)), strict=True))
    return [jaccard(runs[one], runs[other]) for one, other in pairs]


def _near_duplicates(corpus: Corpus, run: Mapper) -> Generator[Event, None, Numbers]:
    """Set the clusters; returns the documents that repeat an earlier one."""
    assert corpus.signatures is not None
    pairs = corpus.signatures.candidates(corpus.numbers())
    blocks = np.array_split(pairs, max(1, -(-len(pairs) // _PAIRS_IN_A_TASK)))
    tasks = (list(zip(*map(corpus.places, block.T), strict=True)) for block in blocks)
    values: list[float] = []
    for part in run(partial(similarities, corpus.store), tasks):
        values += part
        yield Progress("dedupe", len(values), len(pairs), "pairs")
    removed, corpus.clusters = cluster_duplicates(len(corpus.table), pairs, np.array(values))
    return np.array(list(removed), dtype=np.int64)


def require_enough(corpus: Corpus) -> None:
    """Raise a DataError if too few documents are left for every split to have one."""
    kept = len(corpus.numbers())
    if kept >= MIN_DOCUMENTS:
        return
    dropped = sum((report.dropped for report in corpus.reports), Counter[str]())
    why = ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in sorted(dropped.items()))
    longest = f"; the longest has {corpus.longest_short} characters" if dropped["too_short"] else ""
    raise DataError(
        f"{kept} usable {'document' if kept == 1 else 'documents'}, and train, val and test need one each"
        + (f" (left out: {why}{longest})" if why else ""),
        hint="give more documents" + (", or lower `min_length=`" if dropped["too_short"] else ""),
    )
