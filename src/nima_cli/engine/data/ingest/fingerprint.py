"""One hash over all that would be read, to tell whether a dataset is still that of its sources; parses nothing."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from nima_cli.config.data_schema import BUILTIN_SOURCE
from nima_cli.engine.data.diagnostics import printable
from nima_cli.engine.data.ingest import builtin
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.files import explain, sha256_file


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
        config = source.config
        add(source.name, config.format, config.container, repr(config.weight), str(len(source.names)))
        if config.fields:
            add("fields", *itertools.chain(*sorted(config.fields.items())))
        if config.path == BUILTIN_SOURCE:
            for name, version in sorted(builtin.builtin_versions().items()):
                add(name, version)
        for name, content in _contents(source):
            add(name, content)
    return digest.hexdigest()


def _contents(source: Source) -> Iterator[tuple[str, str]]:
    """Yield (relative name, hex SHA-256 of the bytes) of each file."""
    if (spool := source.spool) is not None:
        spool.seek(0)
        digest = hashlib.sha256()
        for block in iter(lambda: spool.read(2**20), b""):
            digest.update(block)
        yield "stdin", digest.hexdigest()
    for name, file in zip(source.names, source.files, strict=True):
        try:
            yield name, sha256_file(file)
        except OSError as error:
            raise explain(error, Path(printable(str(file))), "read") from error
