"""Reads a source as preparing does, piece after piece, in this process."""

from collections.abc import Iterator

from nima_cli.engine.data.document import Document
from nima_cli.engine.data.pieces import Batch, read_piece
from nima_cli.engine.data.problems import Problems
from nima_cli.engine.data.source_report import Gathering
from nima_cli.engine.data.sources import Source


def documents_of(source: Source, problems: Problems, gathering: Gathering | None = None) -> Iterator[Document]:
    """The documents of a source; what else there is goes to `problems` and `gathering`."""
    gathering = gathering or source.gathering()
    for part in source.parts(source.index):
        for batch in [part] if isinstance(part, Batch) else read_piece(part):
            gathering.add(batch.tally, problems)
            yield from batch.documents
