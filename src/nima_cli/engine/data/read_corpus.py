"""Reads sources into a store of cleaned documents, on all cores.

A worker reads files, or a part of one, cleans the documents, drops what is not worth learning from, and computes what
duplicates are found by. The calling process writes the store and counts.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.clean_document import clean_document
from nima_cli.engine.data.cleaning.quality import (
    boilerplate_lines,
    boilerplate_problem,
    count_lines,
    quality_problem,
)
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.corpus import TASK_CHARACTERS, Corpus, Place, table_of
from nima_cli.engine.data.dedup.minhash_store import MinHashStore
from nima_cli.engine.data.dedup.near_duplicates import Signatures, minhash
from nima_cli.engine.data.diagnostics import Diagnostic, Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.input_splits import DocumentBatch, InputSplit, ReadCounts, read_split
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.input_report import check_fields, merged_reports
from nima_cli.engine.data.parallel import Mapper
from nima_cli.engine.data.store.document_store import DocumentStore, pack, read_documents
from nima_cli.events import Event, Note, Progress


@dataclass(frozen=True, slots=True)
class CleanedDocuments:
    """What became of the documents of one task.

    Attributes:
        tallies: what was read, in the order of the parts.
        packed: the documents that are kept, one after the other.
        table: `DOCUMENT_DTYPE`, an entry for each kept document; offsets count from the beginning of `packed`.
        signatures: of the kept documents, when near duplicates are looked for.
        dropped: (source, why) of the others.
        lines: in how many documents lines occur, by source, when boilerplate is looked for.
    """

    tallies: list[ReadCounts]
    packed: bytes
    table: npt.NDArray[np.void]
    signatures: Signatures | None
    dropped: list[tuple[int, Diagnostic]]
    cleaning: CleaningCounts
    lines: dict[int, Counter[bytes]]


def read_corpus(
    config: DataConfig, sources: Sequence[Source], store: DocumentStore, run: Mapper
) -> Generator[Event, None, Corpus]:
    """Read every source, clean each document, and drop what its own text disqualifies.

    Raises:
        DataError: something cannot be used; all problems at once.
        ResourceError: a file cannot be read, or the disk is full.
    """
    numbers, reports = merged_reports(sources)
    corpus = Corpus(reports, store.path)
    if config.dedupe == "near":
        corpus.signatures = MinHashStore(store.path.with_name("signatures"))
    problems = Diagnostics(skip=config.on_error == "skip")
    mapping_problems = Diagnostics() if problems.skip else problems  # a wrong mapping cannot be skipped
    # Thousands of files named on a command line need not travel with every task.
    work = partial(read_and_clean, config.model_copy(update={"sources": []}))
    cleaned = run(work, _tasks(sources, numbers))
    lines = yield from _gather(cleaned, corpus, sources, numbers, problems, store)
    check_fields(sources, numbers, reports, mapping_problems)
    problems.raise_if_any()
    mapping_problems.raise_if_any()
    for report in reports:
        for note in report.all_notes():
            yield Note("warning", f"{report.name}: {note}")
    if count := corpus.cleaning.invisible_characters:
        yield Note("warning", f"{count:,} bidirectional or zero-width characters found; they are kept as text")
    if config.max_boilerplate is not None:
        yield from _drop_boilerplate(config.max_boilerplate, corpus, lines, run)
    return corpus


def _tasks(sources: Sequence[Source], numbers: Sequence[int]) -> Iterator[Sequence[InputSplit | DocumentBatch]]:
    """What is to be read, and what was read already, in runs of about `TASK_CHARACTERS`."""
    parts: list[InputSplit | DocumentBatch] = []
    size = 0
    for source in sources:
        for part in source.parts(numbers[source.index]):
            parts.append(part)
            size += part.size
            if size >= TASK_CHARACTERS:
                yield parts
                parts, size = [], 0
    if parts:
        yield parts


def read_and_clean(config: DataConfig, parts: Sequence[InputSplit | DocumentBatch]) -> CleanedDocuments:
    """Clean every document of some input and keep what is worth learning from."""
    cleaning = CleaningCounts()
    kept: list[Document] = []
    dropped: list[tuple[int, Diagnostic]] = []
    tallies: list[ReadCounts] = []
    for raw in _documents(parts, tallies):
        document = clean_document(raw, config, cleaning)
        problem = quality_problem(document, config)
        if problem is None:
            kept.append(document)
        else:
            dropped.append((document.source, problem))
    packed = [pack(document) for document in kept]
    return CleanedDocuments(
        tallies,
        b"".join(packed),
        table_of(kept, packed, config.seed),
        minhash(kept) if config.dedupe == "near" else None,
        dropped,
        cleaning,
        count_lines(kept) if config.max_boilerplate is not None else {},
    )


def _documents(parts: Sequence[InputSplit | DocumentBatch], tallies: list[ReadCounts]) -> Iterator[Document]:
    for part in parts:
        for batch in [part] if isinstance(part, DocumentBatch) else read_split(part):
            tallies.append(batch.counts)
            yield from batch.documents


def _gather(
    results: Iterable[CleanedDocuments],
    corpus: Corpus,
    sources: Sequence[Source],
    numbers: Sequence[int],
    problems: Diagnostics,
    store: DocumentStore,
) -> Generator[Event, None, dict[int, Counter[bytes]]]:
    """Write and count what comes back; returns in how many documents of each source lines occur."""
    tables: list[npt.NDArray[np.void]] = []
    lines: dict[int, Counter[bytes]] = {}
    total, done = _size(sources), 0
    for cleaned in results:
        cleaned.table["offset"] += store.size
        tables.append(cleaned.table)
        store.append(cleaned.packed)
        if corpus.signatures is not None and cleaned.signatures is not None:
            corpus.signatures.append(cleaned.signatures)
        for number, counts in cleaned.lines.items():
            lines.setdefault(number, Counter()).update(counts)
        corpus.cleaning.add(cleaned.cleaning)
        for number, problem in cleaned.dropped:
            if problem.reason == "too_short":
                corpus.longest_short = max(corpus.longest_short, int(dict(problem.figures)["characters"]))
            yield corpus.reports[number].drop(problem)
        for tally in cleaned.tallies:
            yield from corpus.reports[numbers[tally.source]].add(tally, sources[tally.source], problems)
            done += tally.bytes
        yield Progress("read", done, total, "bytes")
    # A file that is shared between machines shows all of it to the others once it is closed.
    store.close()
    corpus.extend(tables)
    yield Progress("read", done, done, "bytes")
    return lines


def _size(sources: Sequence[Source]) -> int:
    """Bytes of all files; 0 when there is more to read than files."""
    return sum(source.size for source in sources) if all(source.files for source in sources) else 0


def boilerplate_problems(
    store: Path, lines: Mapping[int, frozenset[bytes]], limit: float, places: Sequence[Place]
) -> list[Diagnostic | None]:
    """For each document why it is left out, or None; `lines` is the boilerplate of each source."""
    return [boilerplate_problem(document, lines[document.source], limit) for document in read_documents(store, places)]


def _drop_boilerplate(
    limit: float, corpus: Corpus, counts: dict[int, Counter[bytes]], run: Mapper
) -> Generator[Event, None, None]:
    """Leave out documents that say little of their own; what very many share is counted source by source."""
    documents = Counter(corpus.table["source"].tolist())
    lines = {source: boilerplate_lines(counted, documents[source]) for source, counted in counts.items()}
    batches = list(corpus.batches(corpus.numbers()))
    judged = run(partial(boilerplate_problems, corpus.store, lines, limit), map(corpus.places, batches))
    for batch, problems in zip(batches, judged, strict=True):
        for number, problem in zip(batch.tolist(), problems, strict=True):
            if problem is not None:
                yield corpus.drop(number, problem)
