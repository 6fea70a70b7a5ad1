"""Reads sources into a spool of clean, unique documents, on all cores; knows nothing of tokens.

The workers read what they can, refine and sketch, and only a row of numbers stays in memory of each document.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.quality import LineCounts
from nima_cli.engine.data.cleaning.whitespace import CleanReport
from nima_cli.engine.data.dedup.minhash_store import SketchFiles
from nima_cli.engine.data.diagnostics import Diagnostic, Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.input_splits import DocumentBatch, InputSplit, ReadCounts
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.parallel import Mapper
from nima_cli.engine.data.shard import (
    ROW_DTYPE,
    BoilerplateTask,
    Shard,
    ShardTask,
    boilerplate_shard,
    make_shard,
    rows_of,
)
from nima_cli.engine.data.source_report import Gathering, SourceReport, check_fields
from nima_cli.engine.data.store.document_store import Spool, pack, read_documents
from nima_cli.events import Dropped, Event, Note, Progress

# Characters in one task: small enough to share evenly, large enough that passing it on costs little.
TASK_CHARACTERS = 2**18


@dataclass(slots=True)
class Corpus:
    """Documents in a spool, and what was counted on the way.

    Attributes:
        reports: one a source; sources of one name, format, container and weight, such as the files that a shell made
            out of `docs/*.md`, count as one. `Document.source` is an index into it.
        spool: the file with the documents.
        rows: `ROW_DTYPE` [n], one a document of the spool.
        sketches: of all n, when near duplicates are looked for.
        kept: bool [n], which are left.
        clusters: int64 [n], equal for documents that must stay on one side of the split.
        assigned: int8 [n], the split that a document belongs to whatever its hash says, as an index; -1 for most.
        exact, near: how many duplicates of each kind were left out.
        longest: characters of the longest document read.
    """

    reports: list[SourceReport]
    spool: Path
    rows: npt.NDArray[np.void] = field(default_factory=lambda: np.zeros(0, dtype=ROW_DTYPE))
    sketches: SketchFiles | None = None
    kept: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    clusters: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    assigned: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    cleaning: CleanReport = field(default_factory=CleanReport)
    exact: int = 0
    near: int = 0
    longest: int = 0

    def numbers(self) -> npt.NDArray[np.int64]:
        """The documents that are left."""
        return np.flatnonzero(self.kept)

    def places(self, numbers: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
        """Where documents lie in the spool, as (offset, bytes)."""
        rows = self.rows[numbers]
        return list(zip(rows["offset"].tolist(), rows["size"].tolist(), strict=True))

    def documents(self, numbers: npt.NDArray[np.int64]) -> Iterator[Document]:
        """Read documents back."""
        for batch in self.batches(numbers):
            yield from read_documents(self.spool, self.places(batch))

    def batches(self, numbers: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """`numbers` in runs of about `TASK_CHARACTERS`."""
        total = np.cumsum(self.rows["characters"][numbers], dtype=np.int64) // TASK_CHARACTERS
        return iter(np.split(numbers, np.flatnonzero(total[1:] != total[:-1]) + 1) if len(numbers) else [])

    def replace(self, number: int, parts: Sequence[Document], spool: Spool, seed: int) -> None:
        """Put the parts of a document in its place, one for each split in their order.

        Args:
            spool: that of this corpus, open.

        Raises:
            ResourceError: the disk refused.
        """
        packed = [pack(part) for part in parts]
        rows = rows_of(parts, packed, seed)
        rows["offset"] += spool.size
        spool.append(b"".join(packed))
        self.kept[number] = False
        self.clusters = np.append(self.clusters, len(self.rows) + np.arange(len(parts)))
        self.rows = np.concatenate([self.rows, rows])
        self.kept = np.append(self.kept, np.ones(len(parts), dtype=bool))
        self.assigned = np.append(self.assigned, np.arange(len(parts), dtype=np.int8))

    def leave_out(self, number: int, problem: Diagnostic) -> Dropped:
        """Drop a document and count it."""
        self.kept[number] = False
        return self.dropped(int(self.rows[number]["source"]), problem)

    def dropped(self, source: int, problem: Diagnostic) -> Dropped:
        """Count something that is not in the spool or no longer counts."""
        report = self.reports[source]
        report.dropped[problem.reason] += 1
        return Dropped(report.name, problem.where, problem.reason, problem.figures)


def read_corpus(
    config: DataConfig, sources: Sequence[Source], spool: Spool, run: Mapper
) -> Generator[Event, None, Corpus]:
    """Read every source, refine each document, and leave out what its own text disqualifies.

    Raises:
        DataError: something cannot be used; all problems at once.
        ResourceError: a file cannot be read, or the disk is full.
    """
    place, reports = _merged(sources)
    corpus = Corpus(reports, spool.path)
    if config.dedupe == "near":
        corpus.sketches = SketchFiles(spool.path.with_name("sketches"))
    problems = Diagnostics(skip=config.on_error == "skip")
    gatherings = [source.gathering() for source in sources]
    tasks = _tasks(config, sources, place)
    lines = yield from _read(run(make_shard, tasks), corpus, _Gathered(gatherings, problems, _size(sources)), spool)
    for source, gathering in zip(sources, gatherings, strict=True):
        yield from _add_report(reports[place[source.index]], gathering.finish())
    # A wrong mapping is no bad record that could be skipped.
    mappings = Diagnostics() if problems.skip else problems
    check_fields(gatherings, mappings)
    problems.raise_if_any()
    mappings.raise_if_any()
    yield from _reading_notes(corpus)
    if config.max_boilerplate is not None:
        yield from _leave_out_boilerplate(config, corpus, lines, run)
    return corpus


def _merged(sources: Sequence[Source]) -> tuple[list[int], list[SourceReport]]:
    """For each source the number of its report, and the reports, still without counts."""
    groups: dict[tuple[object, ...], list[Source]] = {}
    for source in sources:
        config = source.config
        own = source.index if config.name is None else None
        key = (own, config.name, config.format, config.container, config.weight)
        groups.setdefault(key, []).append(source)
    place = [0] * len(sources)
    reports = []
    for number, members in enumerate(groups.values()):
        first = members[0]
        path = first.config.path + (f" and {len(members) - 1} more" if len(members) > 1 else "")
        reports.append(SourceReport(first.name, path, first.config.format, first.config.weight))
        for source in members:
            place[source.index] = number
    return place, reports


@dataclass(slots=True)
class _Gathered:
    """What has come back from reading, and how much there is."""

    sources: Sequence[Gathering]
    problems: Diagnostics
    total: int
    bytes: int = 0

    def add(self, tallies: Iterable[ReadCounts]) -> Progress:
        for tally in tallies:
            self.sources[tally.source].add(tally, self.problems)
            self.bytes += tally.bytes
        return Progress("read", self.bytes, self.total, "bytes")


def _read(
    shards: Iterable[Shard], corpus: Corpus, gathered: _Gathered, spool: Spool
) -> Generator[Event, None, dict[int, LineCounts]]:
    rows: list[npt.NDArray[np.void]] = []
    lines: dict[int, LineCounts] = {}
    for shard in shards:
        rows.append(shard.rows)
        shard.rows["offset"] += spool.size
        spool.append(shard.packed)
        if corpus.sketches is not None and shard.sketches is not None:
            corpus.sketches.append(shard.sketches)
        for source, counted in shard.lines.items():
            lines.setdefault(source, LineCounts()).merge(counted)
        yield from _count(shard, corpus)
        yield gathered.add(shard.tallies)
    # A file that is shared between machines shows all of it to the others once it is closed.
    spool.close()
    if rows:
        corpus.rows = np.concatenate(rows)
    corpus.kept = np.ones(len(corpus.rows), dtype=bool)
    corpus.clusters = np.arange(len(corpus.rows))
    corpus.assigned = np.full(len(corpus.rows), -1, dtype=np.int8)
    yield Progress("read", gathered.bytes, gathered.bytes, "bytes")
    return lines


def _tasks(config: DataConfig, sources: Sequence[Source], place: Sequence[int]) -> Iterator[ShardTask]:
    # Thousands of files named on a command line need not travel with every task.
    options = config.model_copy(update={"sources": []})
    parts: list[InputSplit | DocumentBatch] = []
    size = 0
    for source in sources:
        for part in source.parts(place[source.index]):
            parts.append(part)
            size += part.size
            if size >= TASK_CHARACTERS:
                yield ShardTask(options, tuple(parts))
                parts, size = [], 0
    if parts:
        yield ShardTask(options, tuple(parts))


def _size(sources: Sequence[Source]) -> int:
    """Bytes of all files; 0 when there is more to read than files."""
    if not all(source.files for source in sources):
        return 0
    return sum(file.size for source in sources for file in source.files)


def _count(shard: Shard, corpus: Corpus) -> Iterator[Dropped]:
    corpus.longest = max(corpus.longest, shard.longest)
    corpus.cleaning.add(shard.cleaning)
    for source, problem in shard.dropped:
        yield corpus.dropped(source, problem)


def _add_report(report: SourceReport, part: SourceReport) -> Iterator[Dropped]:
    report.files += part.files
    report.documents += part.documents
    report.bytes += part.bytes
    report.dropped.update(part.dropped)
    report.notes += part.notes
    for drop in part.drops:
        yield Dropped(report.name, drop.where, drop.reason, drop.figures)


def _leave_out_boilerplate(
    config: DataConfig, corpus: Corpus, counted: dict[int, LineCounts], run: Mapper
) -> Iterator[Dropped]:
    """Leave out documents that say little of their own; what very many share is counted source by source."""
    lines = {source: counts.boilerplate() for source, counts in counted.items()}
    tasks = (
        BoilerplateTask(config, corpus.spool, tuple(batch.tolist()), tuple(corpus.places(batch)), lines)
        for batch in corpus.batches(corpus.numbers())
    )
    for found in run(boilerplate_shard, tasks):
        for number, problem in found:
            yield corpus.leave_out(number, problem)


def _reading_notes(corpus: Corpus) -> Iterator[Note]:
    for report in corpus.reports:
        for note in report.notes:
            yield Note("warning", f"{report.name}: {note}")
    if corpus.cleaning.invisible_characters:
        count = corpus.cleaning.invisible_characters
        yield Note("warning", f"{count:,} bidirectional or zero-width characters found; they are kept as text")


def kept_by_source(corpus: Corpus) -> Counter[int]:
    """Documents of each report that are left."""
    return Counter(corpus.rows["source"][corpus.kept].tolist())
