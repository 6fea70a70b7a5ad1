"""Reads a source as preparing does, piece after piece, in this process."""

from collections.abc import Iterator

from nima_cli.engine.data.diagnostics import Diagnostics
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.ingest.input_splits import DocumentBatch, read_split
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.input_report import SourceReport


def report_of(source: Source) -> SourceReport:
    """The report of a source of which nothing was read."""
    config = source.config
    return SourceReport(source.name, config.path, config.format, config.weight, notes=list(source.notes))


def documents_of(source: Source, problems: Diagnostics, report: SourceReport | None = None) -> Iterator[Document]:
    """The documents of a source; what else there is goes to `problems` and `report`."""
    report = report or report_of(source)
    for part in source.parts(source.index):
        for batch in [part] if isinstance(part, DocumentBatch) else read_split(part):
            list(report.add(batch.counts, source, problems))
            yield from batch.documents
