"""Leaves out what says the same as something earlier, and joins what is alike; knows nothing of tokens."""

from collections import Counter
from collections.abc import Generator, Iterator

import numpy as np

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.corpus import Corpus
from nima_cli.engine.data.dedup.exact import first_of_each
from nima_cli.engine.data.dedup.near_duplicates import candidates, judge
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.parallel import Mapper
from nima_cli.engine.data.shard import Pairs, similarities
from nima_cli.errors import DataError
from nima_cli.events import Event, Progress

MIN_DOCUMENTS = 3

_PAIRS_IN_A_TASK = 512


def make_unique(config: DataConfig, corpus: Corpus, run: Mapper) -> Generator[Event, None, None]:
    """Remove exact and near duplicates as `config.dedupe` asks, the earliest of each stays.

    Raises:
        ResourceError: the spool cannot be read.
    """
    documents = len(corpus.numbers())
    if config.dedupe != "off":
        yield Progress("dedupe", 0, documents, "documents")
        yield from _exact(corpus)
        if config.dedupe == "near":
            yield from _near(corpus, run)
        yield Progress("dedupe", documents, documents, "documents")


def _exact(corpus: Corpus) -> Iterator[Event]:
    numbers = corpus.numbers()
    first = numbers[first_of_each(corpus.rows["key"][numbers])]
    again = numbers[first != numbers]
    corpus.exact = len(again)
    for number, document in zip(again.tolist(), corpus.documents(again), strict=True):
        yield corpus.leave_out(number, Diagnostic(document.where, "says the same as another", "duplicate"))


def _near(corpus: Corpus, run: Mapper) -> Iterator[Event]:
    assert corpus.sketches is not None
    pairs = candidates(corpus.sketches, corpus.numbers())
    blocks = np.array_split(pairs, max(1, -(-len(pairs) // _PAIRS_IN_A_TASK)))
    tasks = (
        Pairs(corpus.spool, tuple(corpus.places(block[:, 0])), tuple(corpus.places(block[:, 1]))) for block in blocks
    )
    values, done = np.zeros(len(pairs)), 0
    for part in run(similarities, tasks):
        values[done : done + len(part)] = part
        done += len(part)
        yield Progress("dedupe", done, len(pairs), "pairs")
    found = judge(len(corpus.rows), pairs, values)
    corpus.clusters = found.clusters
    corpus.near = len(found.removed)
    again = np.array([later for later, _ in found.removed], dtype=np.int64)
    for number, document in zip(again.tolist(), corpus.documents(again), strict=True):
        yield corpus.leave_out(number, Diagnostic(document.where, "says nearly the same as another", "near_duplicate"))


def require_enough(corpus: Corpus) -> None:
    """Make sure that every split can have a document.

    Raises:
        DataError: too few documents are left to split.
    """
    if len(corpus.numbers()) < MIN_DOCUMENTS:
        raise _too_few(corpus)


def _too_few(corpus: Corpus) -> DataError:
    kept, dropped = len(corpus.numbers()), Counter[str]()
    for report in corpus.reports:
        dropped.update(report.dropped)
    why = ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in sorted(dropped.items()))
    longest = f"; the longest has {corpus.longest} characters" if dropped["too_short"] else ""
    return DataError(
        f"{kept} usable {'document' if kept == 1 else 'documents'}, and train, val and test need one each"
        + (f" (left out: {why}{longest})" if why else ""),
        hint="give more documents" + (", or lower `--min-length`" if dropped["too_short"] else ""),
    )
