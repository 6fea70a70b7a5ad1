"""What a run learns from: opens files, folders, globs, standard input and the embedded source; knows nothing of tokens.

A source is handed on in parts: pieces that any core can read, and what only the calling process can read, already read.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import IO

from nima_cli.config.data_schema import BUILTIN_SOURCE, SourceConfig
from nima_cli.engine.data.diagnostics import Problems, printable
from nima_cli.engine.data.ingest import builtin
from nima_cli.engine.data.ingest.input_splits import cut
from nima_cli.engine.data.ingest.read_split import Batch, Origin, Piece, Tally, read_stream
from nima_cli.engine.data.ingest.readers import Reading
from nima_cli.engine.data.ingest.walk.file_kinds import suffixes, wanted
from nima_cli.engine.data.ingest.walk.paths import MAGIC, Reached, Walking, expand
from nima_cli.engine.data.ingest.walk.walking import LeftOut
from nima_cli.errors import DataError, ResourceError

__all__ = ["Problems", "Source", "open_sources"]

STDIN = "-"


@dataclass(slots=True)
class Source:
    """One opened source; make it with `open_sources`.

    Attributes:
        index: place in the list of sources.
        names: file names relative to the source's root, in the order of `files`.
        sizes: bytes of each file, when it was found.
        left_out: what a walk met and did not take.
        notes: what finding the files brought up.
        encoding: what files are in that are not UTF-8; None refuses them.
        spool: standard input, kept.
        as_written: lightweight markup is text, and not converted.
    """

    name: str
    config: SourceConfig
    index: int
    files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    encoding: str | None = None
    spool: IO[bytes] | None = None
    as_written: bool = False

    def parts(self, label: int) -> Iterator[Piece | Batch]:
        """All there is to read, in a fixed order: pieces, and batches of documents that were read here.

        Args:
            label: written into every document as its source.

        Raises:
            ResourceError: the operating system refused to read a file.
        """
        if self.config.path == BUILTIN_SOURCE:
            yield from self._builtin(label)
        elif self.spool is not None:
            self.spool.seek(0)
            yield from read_stream(self._origin(label, "stdin", ("", "")), self.spool)
        for file in self.files:
            yield from cut(self._origin(label, printable(str(file)), suffixes(file)), file)

    def _origin(self, label: int, name: str, suffixes: tuple[str, str]) -> Origin:
        config = self.config
        how = Reading(config.format, config.container, self.encoding, config.fields or {}, as_written=self.as_written)
        return Origin(self.index, label, name, suffixes, how)

    def _builtin(self, label: int) -> Iterator[Batch]:
        batch = Batch(Tally(self.index))
        for document in builtin.builtin_documents(label):
            batch.add(document)
            batch.tally.bytes += len(document.text.encode()) + sum(len(t.content.encode()) for t in document.turns)
            if batch.full:
                yield batch
                batch = Batch(Tally(self.index))
        yield batch


def open_sources(
    sources: Sequence[SourceConfig],
    encoding: str | None = None,
    walking: Walking | None = None,
    *,
    include_code: bool = False,
    as_written: bool = False,
) -> list[Source]:
    """Find the files of every source; a real file is read once, for the first source that reaches it.

    Args:
        encoding: what files are in that are not UTF-8; None refuses them.
        walking: how folders are walked; each source's own `exclude` comes on top.
        include_code: source code is taken from folders too.
        as_written: lightweight markup is text, and not converted.

    Raises:
        DataError: paths that do not exist, match nothing, or are no regular files; all of them at once.
        ResourceError: files or folders that may not be read; all of them at once.
    """
    reached = Reached()
    problems, refused = Problems(), Problems()
    opened: list[Source] = []
    for index, config in enumerate(sources):
        name = config.name or _unused(_default_name(config.path), opened)
        if config.path == BUILTIN_SOURCE or config.path == STDIN:
            again = any(other.config.path == config.path for other in opened)
            if again:
                problems.add(printable(config.path), "named twice; it can be read once", "twice")
            spool = _spool_stdin() if config.path == STDIN and not again else None
            opened.append(Source(name, config, index, encoding=encoding, spool=spool, as_written=as_written))
            continue
        takes = wanted(config, include_code=include_code)
        found = expand(config.path, takes, reached, _with_own_excludes(walking or Walking(), config))
        for problem in found.unusable:
            problems.add(problem.where, problem.what, problem.reason, hint=problem.hint)
        for problem in found.refused:
            refused.add(problem.where, problem.what, problem.reason)
        notes = such_as("reached before by another name and read once", [printable(str(p)) for p in found.twins])
        files, names = tuple(one.path for one in found.files), tuple(one.name for one in found.files)
        sizes = tuple(one.size for one in found.files)
        opened.append(
            Source(name, config, index, files, names, sizes, found.left_out, notes, encoding, as_written=as_written)
        )
    problems.raise_if_any()
    try:
        refused.raise_if_any()
    except DataError as error:
        raise ResourceError(error.message, hint="check the permissions") from error
    for source in opened:  # what one source passes over, another may have read
        source.left_out = [one for one in source.left_out if one.inode not in reached.files]
    return opened


def such_as(what: str, where: Sequence[str]) -> list[str]:
    """A note that names the first of several places; empty without places."""
    return [f"{what}: {where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}"] if where else []


def _with_own_excludes(walking: Walking, config: SourceConfig) -> Walking:
    leaving = walking.leaving
    return replace(walking, leaving=replace(leaving, exclude=(*leaving.exclude, *config.exclude)))


def _default_name(path: str) -> str:
    if path in (BUILTIN_SOURCE, STDIN):
        return "stdin" if path == STDIN else path.partition(":")[2]
    plain = [part for part in PurePath(path).parts if not MAGIC & set(part)]
    return printable(plain[-1]) if plain else printable(path)


def _unused(name: str, opened: Sequence[Source]) -> str:
    taken = {source.name for source in opened}
    number = 2
    result = name
    while result in taken:
        result, number = f"{name}-{number}", number + 1
    return result


def _spool_stdin() -> IO[bytes]:
    """Keep standard input in a temporary file: it is read once for the fingerprint and once for the documents.

    Raises:
        DataError: it is closed.
        ResourceError: there is no temporary folder, or no room in it.
    """
    if sys.stdin is None:  # the descriptor was closed when Python started
        raise DataError("standard input: cannot read: it is closed")
    try:
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its source
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.flush()
    except OSError as error:
        raise ResourceError(
            f"standard input: cannot keep it in a temporary file: {(error.strerror or str(error)).lower()}",
            hint="set the variable TMPDIR to a folder with room, or read from a file",
        ) from error
    return spool
