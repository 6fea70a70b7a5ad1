"""Reads a source as preparing does, piece after piece, in this process."""

from collections.abc import Iterator

from nima_cli.engine.data.diagnostics import Problems
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.read_split import Batch, read_piece
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.source_report import Gathering


def documents_of(source: Source, problems: Problems, gathering: Gathering | None = None) -> Iterator[Document]:
    """The documents of a source; what else there is goes to `problems` and `gathering`."""
    gathering = gathering or source.gathering()
    for part in source.parts(source.index):
        for batch in [part] if isinstance(part, Batch) else read_piece(part):
            gathering.add(batch.tally, problems)
            yield from batch.documents
