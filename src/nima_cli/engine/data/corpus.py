"""Reads sources into clean, unique documents and splits them into train, val and test; knows nothing of tokens."""

import hashlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nima_cli.config.schema import DataConfig
from nima_cli.engine.data.clean import CleanReport, clean
from nima_cli.engine.data.dataset_files import SPLITS
from nima_cli.engine.data.dedupe import drop_exact
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.sources import Problems, Source, SourceReport
from nima_cli.errors import DataError
from nima_cli.events import Event, Note, Progress

MIN_DOCUMENTS = 3

_PROGRESS_EVERY = 64


@dataclass(slots=True)
class Corpus:
    """Documents read and cleaned, and what was counted on the way.

    Attributes:
        reports: one a source; sources of one name, format and weight, such as the files that a shell made out of
            `docs/*.md`, count as one. `Document.source` is an index into it.
        kept: documents of each report that are left.
        longest: characters of the longest document read.
    """

    reports: list[SourceReport]
    documents: list[Document] = field(default_factory=list)
    cleaning: CleanReport = field(default_factory=CleanReport)
    duplicates: int = 0
    longest: int = 0
    kept: Counter[int] = field(default_factory=Counter)


def read_corpus(config: DataConfig, sources: Sequence[Source]) -> Generator[Event, None, Corpus]:
    """Read every source, clean each document, and leave out what is too short or says the same as another.

    Raises:
        DataError: something cannot be used (all problems at once), or too few documents are left to split.
        ResourceError: a file cannot be read.
    """
    place, reports = _merged(sources)
    corpus = Corpus(reports)
    problems = Problems(skip=config.on_error == "skip")
    yield from _read(config, sources, place, corpus, problems)
    problems.raise_if_any()
    yield from _reading_notes(corpus)
    if config.dedupe == "exact":
        read = len(corpus.documents)
        _dedupe(corpus)
        yield Progress("dedupe", read, read, "documents")
    corpus.kept.update(document.source for document in corpus.documents)
    if len(corpus.documents) < MIN_DOCUMENTS:
        raise _too_few(corpus)
    return corpus


def _merged(sources: Sequence[Source]) -> tuple[list[int], list[SourceReport]]:
    """For each source the number of its report, and the reports, still without counts."""
    groups: dict[tuple[object, ...], list[Source]] = {}
    for source in sources:
        config = source.config
        own = source.index if config.name is None else None
        groups.setdefault((own, config.name, config.format, config.weight), []).append(source)
    place = [0] * len(sources)
    reports = []
    for number, members in enumerate(groups.values()):
        first = members[0]
        path = first.config.path + (f" and {len(members) - 1} more" if len(members) > 1 else "")
        reports.append(SourceReport(first.name, path, first.config.format, first.config.weight))
        for source in members:
            place[source.index] = number
    return place, reports


def _read(
    config: DataConfig, sources: Sequence[Source], place: Sequence[int], corpus: Corpus, problems: Problems
) -> Iterator[Event]:
    total = sum(_size(file) for source in sources for file in source.files) if all(s.files for s in sources) else 0
    done = 0
    for source in sources:
        for number, document in enumerate(source.documents(problems), start=1):
            tidy = replace(_cleaned(document, corpus.cleaning), source=place[source.index])
            _take(tidy, config.min_length, corpus)
            if number % _PROGRESS_EVERY == 0:
                yield Progress("read", done + source.report.bytes, total, "bytes")
        done += source.report.bytes
        report = corpus.reports[place[source.index]]
        report.files += source.report.files
        report.documents += source.report.documents
        report.bytes += source.report.bytes
        report.dropped.update(source.report.dropped)
        report.notes += source.report.notes
    yield Progress("read", done, done, "bytes")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # reading it will say so
        return 0


def _take(document: Document, min_length: int, corpus: Corpus) -> None:
    """Keep the document, or count why not."""
    length = len(document.text.strip()) + sum(len(turn.content.strip()) for turn in document.turns)
    corpus.longest = max(corpus.longest, length)
    if length < min_length:
        corpus.reports[document.source].dropped["too_short"] += 1
    else:
        corpus.documents.append(document)


def _reading_notes(corpus: Corpus) -> Iterator[Note]:
    for report in corpus.reports:
        for note in report.notes:
            yield Note("warning", f"{report.name}: {note}")
    if corpus.cleaning.invisible_characters:
        count = corpus.cleaning.invisible_characters
        yield Note("warning", f"{count:,} bidirectional or zero-width characters found; they are kept as text")


def _cleaned(document: Document, report: CleanReport) -> Document:
    if document.turns:
        turns = tuple(replace(turn, content=clean(turn.content, document.kind, report)) for turn in document.turns)
        return replace(document, turns=turns)
    return replace(document, text=clean(document.text, document.kind, report))


def _dedupe(corpus: Corpus) -> None:
    def count(document: Document) -> None:
        corpus.reports[document.source].dropped["duplicate"] += 1
        corpus.duplicates += 1

    corpus.documents = list(drop_exact(corpus.documents, count))


def _too_few(corpus: Corpus) -> DataError:
    kept, dropped = len(corpus.documents), Counter[str]()
    for report in corpus.reports:
        dropped.update(report.dropped)
    why = ", ".join(f"{number} {reason.replace('_', ' ')}" for reason, number in sorted(dropped.items()))
    longest = f"; the longest has {corpus.longest} characters" if dropped["too_short"] else ""
    return DataError(
        f"{kept} usable {'document' if kept == 1 else 'documents'}, and train, val and test need one each"
        + (f" (left out: {why}{longest})" if why else ""),
        hint="give more documents" + (", or lower `--min-length`" if dropped["too_short"] else ""),
    )


def split(documents: Sequence[Document], config: DataConfig) -> dict[str, list[Document]]:
    """Shuffle by a keyed hash of the content, then cut; every split gets at least one document.

    A hash instead of a random generator makes a document's place independent of the order of the sources.
    """
    shuffled = sorted(documents, key=lambda document: (_shuffle_key(document, config.seed), document.source))
    total = len(shuffled)
    val = max(1, round(total * config.val_ratio))
    test = max(1, round(total * (1 - config.train_ratio - config.val_ratio)))
    train = max(1, total - val - test)
    val = min(val, total - train - 1)
    parts = (shuffled[:train], shuffled[train : train + val], shuffled[train + val :])
    return dict(zip(SPLITS, parts, strict=True))


def _shuffle_key(document: Document, seed: int) -> bytes:
    digest = hashlib.blake2b(document.text.encode("utf-8"), digest_size=16, key=seed.to_bytes(8, "little"))
    for turn in document.turns:
        digest.update(f"\0{turn.role}\0{turn.content}".encode())
    return digest.digest()
