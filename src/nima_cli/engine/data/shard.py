"""What is done to a part of the input on any core: read, refine, judge, sketch, pack; writes no files."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.clean_document import refine
from nima_cli.engine.data.cleaning.quality import LineCounts, boilerplate_verdict, content_length, verdict
from nima_cli.engine.data.cleaning.whitespace import CleanReport
from nima_cli.engine.data.dedup.exact import content_key
from nima_cli.engine.data.dedup.near_duplicates import Sketches, jaccard, shingles, sketch
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import KINDS, Document
from nima_cli.engine.data.ingest.input_splits import DocumentBatch, InputSplit, ReadCounts, read_split
from nima_cli.engine.data.store.document_store import pack, read_documents

# What is kept in memory of each document. `key` is equal for exact duplicates, `order` decides the place in the split,
# `zero_weights` counts messages of weight 0.
ROW_DTYPE = np.dtype(
    [
        ("key", "<u8", (2,)),
        ("order", "<u8", (2,)),
        ("offset", "<u8"),
        ("size", "<u4"),
        ("characters", "<u4"),
        ("source", "<u2"),
        ("kind", "u1"),
        ("zero_weights", "<u4"),
    ]
)


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What is to be read, and what was read already; `config` may come without its sources."""

    config: DataConfig
    parts: tuple[InputSplit | DocumentBatch, ...]


@dataclass(slots=True)
class Shard:
    """What became of the documents of one task.

    Attributes:
        tallies: what was read, in the order of the parts.
        packed: the documents that are kept, one after the other.
        rows: `ROW_DTYPE`, one a kept document; offsets count from the beginning of `packed`.
        sketches: of the kept documents, when near duplicates are looked for.
        dropped: (source, why) of the others.
        lines: by source, when boilerplate is looked for.
        longest: characters of the longest document, kept or not.
    """

    tallies: tuple[ReadCounts, ...]
    packed: bytes
    rows: npt.NDArray[np.void]
    sketches: Sketches | None
    dropped: tuple[tuple[int, Diagnostic], ...]
    cleaning: CleanReport
    lines: dict[int, LineCounts] = field(default_factory=dict)
    longest: int = 0


def make_shard(task: ShardTask) -> Shard:
    """Refine every document of the task and keep what is worth learning from.

    Raises:
        ResourceError: a file cannot be read.
    """
    config, cleaning = task.config, CleanReport()
    kept: list[Document] = []
    dropped: list[tuple[int, Diagnostic]] = []
    longest = 0
    tallies: list[ReadCounts] = []
    lines: dict[int, LineCounts] = {}
    for raw in _documents(task, tallies):
        document = refine(raw, config, cleaning)
        longest = max(longest, content_length(document))
        problem = verdict(document, config)
        if problem is not None:
            dropped.append((document.source, problem))
            continue
        kept.append(document)
        if config.max_boilerplate is not None:
            lines.setdefault(document.source, LineCounts()).add(document)
    packed = [pack(document) for document in kept]
    sketches = sketch(kept) if config.dedupe == "near" else None
    rows = rows_of(kept, packed, config.seed)
    return Shard(tuple(tallies), b"".join(packed), rows, sketches, tuple(dropped), cleaning, lines, longest)


def _documents(task: ShardTask, tallies: list[ReadCounts]) -> Iterator[Document]:
    for part in task.parts:
        for batch in [part] if isinstance(part, DocumentBatch) else read_split(part):
            tallies.append(batch.counts)
            yield from batch.documents


def rows_of(documents: Sequence[Document], packed: Sequence[bytes], seed: int) -> npt.NDArray[np.void]:
    """`ROW_DTYPE` [n] of documents that lie packed one after the other; offsets count from the first."""
    rows = np.zeros(len(documents), dtype=ROW_DTYPE)
    for row, document, data in zip(rows, documents, packed, strict=True):
        row["key"] = np.frombuffer(content_key(document), dtype="<u8")
        row["order"] = np.frombuffer(_order_key(document, seed), dtype="<u8")
        row["size"], row["characters"] = len(data), document.characters
        row["source"], row["kind"] = document.source, KINDS.index(document.kind)
        row["zero_weights"] = sum(not turn.weight for turn in document.turns)
    rows["offset"] = np.cumsum(rows["size"], dtype=np.uint64) - rows["size"]
    return rows


def _order_key(document: Document, seed: int) -> bytes:
    """A keyed hash of the content; sorting by it shuffles whatever the order of the sources."""
    digest = hashlib.blake2b(document.text.encode("utf-8"), digest_size=16, key=seed.to_bytes(8, "little"))
    for turn in document.turns:
        digest.update(f"\0{turn.role}\0{turn.content}".encode())
        if not turn.weight:
            digest.update(b"\0")
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of documents to compare; each document is given as (offset, bytes) in the spool."""

    spool: Path
    first: tuple[tuple[int, int], ...]
    second: tuple[tuple[int, int], ...]


def similarities(task: Pairs) -> list[float]:
    """The exact Jaccard similarity of each pair."""
    places = sorted({*task.first, *task.second})
    runs = {
        place: shingles(document) for place, document in zip(places, read_documents(task.spool, places), strict=True)
    }
    return [jaccard(runs[one], runs[other]) for one, other in zip(task.first, task.second, strict=True)]


@dataclass(frozen=True, slots=True)
class BoilerplateTask:
    """Documents of the spool to hold against the boilerplate of their sources."""

    config: DataConfig
    spool: Path
    numbers: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    lines: dict[int, frozenset[bytes]]


def boilerplate_shard(task: BoilerplateTask) -> list[tuple[int, Diagnostic]]:
    """(number, why) of the documents to leave out."""
    return list(_boilerplate(task))


def _boilerplate(task: BoilerplateTask) -> Iterator[tuple[int, Diagnostic]]:
    for number, document in zip(task.numbers, read_documents(task.spool, task.places), strict=True):
        problem = boilerplate_verdict(document, task.lines[document.source], task.config)
        if problem is not None:
            yield number, problem
