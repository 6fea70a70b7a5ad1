"""Opens the sources of a run: files, folders, globs, standard input and the embedded documentation."""

import hashlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import IO

from nima_cli.config.data_schema import BUILTIN_SOURCE, SourceConfig
from nima_cli.engine.data.diagnostics import Diagnostic, printable
from nima_cli.engine.data.ingest import builtin
from nima_cli.engine.data.ingest.contents import InputFile, ReadOptions, file_filter, split_suffix
from nima_cli.engine.data.ingest.input_splits import DocumentBatch, InputSplit, ReadCounts, read_stream, split_file
from nima_cli.engine.data.ingest.walk.file_finder import GLOB_CHARACTERS, FileFinder, SourceFile
from nima_cli.engine.data.ingest.walk.ignoring import WalkOptions
from nima_cli.engine.data.ingest.walk.walking import SkippedPath
from nima_cli.errors import DataError, ResourceError
from nima_cli.files import explaining, sha256_file

STDIN = "-"


@dataclass(slots=True)
class Source:
    name: str
    config: SourceConfig
    index: int
    options: ReadOptions
    files: Sequence[SourceFile] = ()  # sorted by name
    skipped: list[SkippedPath] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # remarks on finding the files
    stdin: IO[bytes] | None = None  # copied to a file

    @property
    def size(self) -> int:
        """Bytes of its files when they were found."""
        return sum(file.size for file in self.files)

    def parts(self, label: int) -> Iterator[InputSplit | DocumentBatch]:
        """Yield all there is to read in a fixed order: splits, and documents that only this process can read.

        `label` is written into every document as its source; raises ResourceError if a file may not be read.
        """
        if self.config.path == BUILTIN_SOURCE:
            yield from self._builtin(label)
        elif self.stdin is not None:
            self.stdin.seek(0)
            yield from read_stream(InputFile(self.index, label, "stdin", "", False, self.options), self.stdin)
        for file in self.files:
            name = printable(str(file.path))
            yield from split_file(InputFile(self.index, label, name, *split_suffix(file.path), self.options), file.path)

    def _builtin(self, label: int) -> Iterator[DocumentBatch]:
        batch = DocumentBatch(ReadCounts(self.index))
        for document in builtin.builtin_documents(label):
            batch.add(document)
            batch.counts.bytes += len(document.text.encode()) + sum(len(t.content.encode()) for t in document.turns)
            if batch.full:
                yield batch
                batch = DocumentBatch(ReadCounts(self.index))
        yield batch


def open_sources(
    sources: Sequence[SourceConfig],
    encoding: str | None = None,
    walking: WalkOptions | None = None,
    *,
    include_code: bool = False,
    as_written: bool = False,
) -> list[Source]:
    """Find the files of every source; each file is read once, for the first source that reaches it.

    `encoding` and `as_written` are those of `ReadOptions`; each source's own `exclude` comes on top of `walking`.
    Raises a DataError for all paths that do not exist, match nothing, or are not regular files, else a ResourceError
    for all files and folders that may not be read.
    """
    walking, finder = walking or WalkOptions(), FileFinder()
    opened: list[Source] = []
    for index, config in enumerate(sources):
        name = config.name or _unused(_default_name(config.path), opened)
        options = ReadOptions(config.format, config.container, encoding, config.fields or {}, as_written=as_written)
        source = Source(name, config, index, options)
        if config.path not in (BUILTIN_SOURCE, STDIN):
            excluding = replace(walking, exclude=(*walking.exclude, *config.exclude))
            found = finder.find(config.path, file_filter(config, include_code=include_code), excluding)
            source.files, source.skipped = found.files, found.skipped
            again = [printable(str(path)) for path in found.duplicates]
            source.notes = such_as("reached before by another name and read once", again)
        elif any(other.config.path == config.path for other in opened):
            finder.unusable.add(Diagnostic(config.path, "named twice; it can be read once", "twice"))
        elif config.path == STDIN:
            source.stdin = _keep_stdin()
        opened.append(source)
    finder.unusable.raise_if_any()
    try:
        finder.unreadable.raise_if_any()
    except DataError as error:
        raise ResourceError(error.message, hint="check the permissions") from error
    for source in opened:  # what one source skips, another may read
        source.skipped = [one for one in source.skipped if one.inode not in finder.inodes]
    return opened


def such_as(what: str, where: Sequence[str]) -> list[str]:
    """Return a note that names the first of several places; empty without places."""
    return [f"{what}: {where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}"] if where else []


def _default_name(path: str) -> str:
    if path in (BUILTIN_SOURCE, STDIN):
        return "stdin" if path == STDIN else path.partition(":")[2]
    return printable(next((part for part in reversed(PurePath(path).parts) if not GLOB_CHARACTERS & set(part)), path))


def _unused(name: str, opened: Sequence[Source]) -> str:
    taken = {source.name for source in opened}
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in names if one not in taken)


def _keep_stdin() -> IO[bytes]:
    """Copy standard input to a temporary file, to read it for the fingerprint and again for the documents."""
    if sys.stdin is None:  # it was closed when Python started
        raise DataError("standard input: cannot read: it is closed")
    try:
        kept = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its source
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
    except OSError as error:
        what = f"standard input: cannot keep it in a temporary file: {(error.strerror or str(error)).lower()}"
        hint = "set the variable TMPDIR to a folder with room, or read from a file"
        raise ResourceError(what, hint=hint) from error
    return kept


def fingerprint(sources: Sequence[Source]) -> str:
    """Return the hex SHA-256 of all that would be read: names, formats, weights, relative file names and contents.

    For the embedded source it covers the versions of Python and the packages instead of contents. Raises ResourceError.
    """
    digest = hashlib.sha256()
    for word in itertools.chain.from_iterable(map(_identity, sources)):
        data = word.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _identity(source: Source) -> Iterator[str]:
    """Words that identify what would be read of a source."""
    config = source.config
    yield from (source.name, config.format, config.container, repr(config.weight), str(len(source.files)))
    if config.fields:
        yield from ("fields", *itertools.chain(*sorted(config.fields.items())))
    if config.path == BUILTIN_SOURCE:
        yield from itertools.chain(*sorted(builtin.builtin_versions().items()))
    if source.stdin is not None:
        source.stdin.seek(0)
        yield from ("stdin", hashlib.file_digest(source.stdin, "sha256").hexdigest())  # type: ignore[arg-type]
    for file in source.files:
        with explaining(Path(printable(str(file.path))), "read"):
            yield from (file.name, sha256_file(file.path))
