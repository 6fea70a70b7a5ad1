"""Reads a source as preparing does, piece after piece, in this process."""

from collections.abc import Iterator

from nima_cli.engine.data.diagnostics import Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.input_splits import DocumentBatch, read_split
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.source_report import Gathering


def documents_of(source: Source, problems: Diagnostics, gathering: Gathering | None = None) -> Iterator[Document]:
    """The documents of a source; what else there is goes to `problems` and `gathering`."""
    gathering = gathering or source.gathering()
    for part in source.parts(source.index):
        for batch in [part] if isinstance(part, DocumentBatch) else read_split(part):
            gathering.add(batch.counts, problems)
            yield from batch.documents
