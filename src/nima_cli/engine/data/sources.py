"""What a run learns from: opens files, folders, globs, standard input and the embedded source; knows nothing of tokens.

Reading is a stream, one file at a time. What cannot be used goes to a `Problems`, which the caller raises when all is
read, so that a user sees every problem at once and nothing is written before.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO

from nima_cli.config.data_schema import BUILTIN_SOURCE, SourceConfig
from nima_cli.engine.data import builtin, paths
from nima_cli.engine.data.document import Document, Kind
from nima_cli.engine.data.problems import Problem, Problems, printable
from nima_cli.engine.data.readers import LINE_SUFFIXES, RECORD_SUFFIXES, TEXT_SUFFIXES, Reading, Value, read_file
from nima_cli.engine.data.records import RecordReader
from nima_cli.errors import DataError, ResourceError
from nima_cli.files import explain, sha256_file

__all__ = ["Problems", "Source", "SourceReport", "fingerprint", "open_sources"]

STDIN = "-"


@dataclass(slots=True)
class SourceReport:
    """What was read from one source.

    Attributes:
        files: files opened; 0 for the embedded source.
        documents: documents yielded.
        bytes: bytes read; for the embedded source UTF-8 bytes of content.
        dropped: records or files not yielded, by reason.
        drops: the same one by one, with their places.
        notes: what a user should know and need not act on.
    """

    name: str
    path: str
    format: str
    weight: float
    files: int = 0
    documents: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    drops: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Source:
    """One opened source; make it with `open_sources`.

    Attributes:
        index: place in the list of sources, written into every document.
        names: file names relative to the source's root, in the order of `files`.
        encoding: what files are in that are not UTF-8; None refuses them.
        report: filled while `documents` runs.
    """

    name: str
    config: SourceConfig
    index: int
    files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    encoding: str | None = None
    report: SourceReport = field(init=False)
    _spool: IO[bytes] | None = None

    def __post_init__(self) -> None:
        self.report = self._new_report()

    def _new_report(self) -> SourceReport:
        config = self.config
        return SourceReport(self.name, config.path, config.format, config.weight, notes=list(self.notes))

    def documents(self, problems: Problems) -> Iterator[Document]:
        """Yield the documents in a fixed order, uncleaned; start a new `report`.

        Args:
            problems: gets what cannot be used; raising it is the caller's part.

        Raises:
            ResourceError: the operating system refused to read a file.
        """
        self.report = self._new_report()
        reading = _Reading(problems)
        for document in self._read(reading):
            self.report.documents += 1
            yield document
        self.report.notes += reading.notes()

    def _read(self, reading: "_Reading") -> Iterator[Document]:
        if self.config.path == BUILTIN_SOURCE:
            for document in builtin.builtin_documents(self.index):
                self.report.bytes += len(document.text.encode()) + sum(len(t.content.encode()) for t in document.turns)
                yield document
        elif self._spool is not None:
            self._spool.seek(0)
            yield from self._read_file(self._spool, "stdin", ("", ""), reading)
        for file in self.files:
            shown = printable(str(file))
            with _opened(file) as stream:
                before = os.fstat(stream.fileno())
                yield from self._read_file(stream, shown, paths.suffixes(file), reading)
                after = os.fstat(stream.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                self._drop(
                    Problem(shown, "changed while reading", "changed", "run again when it no longer changes"), reading
                )

    def _read_file(
        self, stream: IO[bytes], shown: str, suffixes: tuple[str, str], reading: "_Reading"
    ) -> Iterator[Document]:
        self.report.files += 1
        how = Reading(self.config.format, self.config.container, self.encoding)
        items, kind = read_file(how, suffixes, stream, shown)
        records = RecordReader("auto" if kind else self.config.format, self.index, reading.extra_keys)
        found = False
        for item in items:
            found = True
            if isinstance(item, Problem):
                result: Document | Problem = item
            elif kind:
                result = self._prose(item, kind)
            else:
                result = records.convert(item.value, item.where)
            if isinstance(result, Document):
                yield result
            else:
                self._drop(result, reading)
        if not found:
            self._drop(Problem(shown, "is empty", "empty"), reading)
        self.report.bytes += stream.tell()

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield (relative name, hex SHA-256 of the bytes) of each file.

        Raises:
            ResourceError: a file cannot be read.
        """
        if (spool := self._spool) is not None:
            spool.seek(0)
            digest = hashlib.sha256()
            for block in iter(lambda: spool.read(2**20), b""):
                digest.update(block)
            yield "stdin", digest.hexdigest()
        for name, file in zip(self.names, self.files, strict=True):
            try:
                yield name, sha256_file(file)
            except OSError as error:
                raise explain(error, Path(printable(str(file))), "read") from error

    def _prose(self, item: Value, kind: Kind) -> Document | Problem:
        text: str = item.value
        filled = bool(text.strip())
        return Document(kind, self.index, item.where, text=text) if filled else Problem(item.where, "is empty", "empty")

    def _drop(self, problem: Problem, reading: "_Reading") -> None:
        """Count a drop; what is empty or was only met on a walk is noted, all else is for the user to correct."""
        self.report.dropped[problem.reason] += 1
        self.report.drops.append(problem)
        met_on_a_walk = (
            self.config.format == "auto" and self.config.container == "auto" and os.path.isdir(self.config.path)
        )
        if problem.reason == "empty":
            reading.empty.append(problem.where)
        elif problem.reason == "no_records" and met_on_a_walk:
            reading.without_records.append(problem.where)
        else:
            reading.problems.add(problem.where, problem.what, problem.reason, hint=problem.hint)


@dataclass(slots=True)
class _Reading:
    """What one pass over a source gathers besides documents."""

    problems: Problems
    extra_keys: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    without_records: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        keys = ", ".join(f"`{printable(key)}`" for key in sorted(self.extra_keys)[:10])
        more = " and more" if len(self.extra_keys) > 10 else ""
        return [
            *([f"keys not used: {keys}{more}"] if keys else []),
            *_such_as("empty and left out", self.empty),
            *_such_as("JSON without records, left out", self.without_records),
        ]


def _such_as(what: str, where: Sequence[str]) -> list[str]:
    return [f"{what}: {where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}"] if where else []


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise explain(error, Path(printable(str(file))), "read") from error


def open_sources(sources: Sequence[SourceConfig], encoding: str | None = None) -> list[Source]:
    """Find the files of every source; a real file is read once, for the first source that reaches it.

    Args:
        encoding: what files are in that are not UTF-8; None refuses them.

    Raises:
        DataError: paths that do not exist, match nothing, or are no regular files; all of them at once.
        ResourceError: files or folders that may not be read; all of them at once.
    """
    seen: set[tuple[int, int]] = set()
    problems, refused = Problems(), Problems()
    opened: list[Source] = []
    for index, config in enumerate(sources):
        name = config.name or _unused(_default_name(config.path), opened)
        if config.path == BUILTIN_SOURCE or config.path == STDIN:
            again = any(other.config.path == config.path for other in opened)
            if again:
                problems.add(printable(config.path), "named twice; it can be read once", "twice")
            spool = _spool_stdin() if config.path == STDIN and not again else None
            opened.append(Source(name, config, index, encoding=encoding, _spool=spool))
            continue
        found = paths.expand(config.path, _suffixes(config), seen)
        for problem in found.unusable:
            problems.add(problem.where, problem.what, problem.reason, hint=problem.hint)
        for problem in found.refused:
            refused.add(problem.where, problem.what, problem.reason)
        notes = _such_as("reached before by another name and read once", [printable(str(p)) for p in found.twins])
        names, files = tuple(name for name, _ in found.files), tuple(file for _, file in found.files)
        opened.append(Source(name, config, index, files, names, notes, encoding))
    problems.raise_if_any()
    try:
        refused.raise_if_any()
    except DataError as error:
        raise ResourceError(error.message, hint="check the permissions") from error
    return opened


def _suffixes(config: SourceConfig) -> frozenset[str]:
    """What is taken from a walked folder."""
    if config.container == "text" or config.format in ("text", "markdown"):
        return TEXT_SUFFIXES
    if config.container != "auto":
        return frozenset({".json"} if config.container == "json" else LINE_SUFFIXES)
    return TEXT_SUFFIXES | RECORD_SUFFIXES if config.format == "auto" else RECORD_SUFFIXES


def _default_name(path: str) -> str:
    if path in (BUILTIN_SOURCE, STDIN):
        return "stdin" if path == STDIN else path.partition(":")[2]
    plain = [part for part in PurePath(path).parts if not paths.MAGIC & set(part)]
    return printable(plain[-1]) if plain else printable(path)


def _unused(name: str, opened: Sequence[Source]) -> str:
    taken = {source.name for source in opened}
    number = 2
    result = name
    while result in taken:
        result, number = f"{name}-{number}", number + 1
    return result


def _spool_stdin() -> IO[bytes]:
    """Keep standard input in a temporary file: it is read once for the fingerprint and once for the documents."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its source
    shutil.copyfileobj(sys.stdin.buffer, spool)
    return spool


def fingerprint(sources: Sequence[Source]) -> str:
    """Hex SHA-256 over what would be read: names, formats, weights, relative file names and contents.

    For the embedded source it covers the versions of Python and of the packages instead of contents.

    Raises:
        ResourceError: a file cannot be read.
    """
    digest = hashlib.sha256()

    def add(*words: str) -> None:
        for word in words:
            data = word.encode("utf-8", "surrogateescape")
            digest.update(len(data).to_bytes(8, "little") + data)

    for source in sources:
        add(
            source.name,
            source.config.format,
            source.config.container,
            repr(source.config.weight),
            str(len(source.names)),
        )
        if source.config.path == BUILTIN_SOURCE:
            for name, version in sorted(builtin.builtin_versions().items()):
                add(name, version)
        for name, content in source.contents():
            add(name, content)
    return digest.hexdigest()
