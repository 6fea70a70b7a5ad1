"""The documents of a dataset in the making: their texts in a file, and a few figures of each in memory."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.dedup.minhash_store import MinHashStore
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import KINDS, Document
from nima_cli.engine.data.input_report import SourceReport
from nima_cli.engine.data.store.document_store import DocumentStore, pack, read_documents
from nima_cli.events import Dropped

# What is kept in memory of each document. `key` is equal for exact duplicates, `order` decides the place in the split,
# `zero_weights` counts messages of weight 0.
DOCUMENT_DTYPE = np.dtype(
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
KEY_BYTES = 16
# Characters in one task: small enough to share evenly, large enough that passing it on costs little.
TASK_CHARACTERS = 2**18

Numbers = npt.NDArray[np.int64]
Place = tuple[int, int]  # of a document in the store: (offset, bytes)


@dataclass(slots=True)
class Corpus:
    """Cleaned documents, and what was counted on the way.

    Attributes:
        reports: one for each source; `Document.source` is an index into it.
        store: the file with the documents.
        table: `DOCUMENT_DTYPE` [n], an entry for each document of the store.
        signatures: of all n, when near duplicates are looked for.
        kept: bool [n], which are left.
        clusters: int64 [n], equal for documents that must stay on one side of the split.
        assigned: int8 [n], the split that a document belongs to whatever its hash says, as an index; -1 for most.
        longest_short: characters of the longest document that was dropped for being short.
    """

    reports: list[SourceReport]
    store: Path
    table: npt.NDArray[np.void] = field(default_factory=lambda: np.zeros(0, dtype=DOCUMENT_DTYPE))
    signatures: MinHashStore | None = None
    kept: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    clusters: Numbers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    assigned: npt.NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))
    cleaning: CleaningCounts = field(default_factory=CleaningCounts)
    longest_short: int = 0

    def numbers(self) -> Numbers:
        """The documents that are left."""
        return np.flatnonzero(self.kept)

    def extend(self, tables: Sequence[npt.NDArray[np.void]]) -> None:
        """Take in documents that have been written to the store, each a cluster of its own."""
        first, count = len(self.table), sum(map(len, tables))
        self.table = np.concatenate([self.table, *tables])
        self.kept = np.append(self.kept, np.ones(count, dtype=bool))
        self.clusters = np.append(self.clusters, first + np.arange(count))
        self.assigned = np.append(self.assigned, np.full(count, -1, dtype=np.int8))

    def places(self, numbers: Numbers) -> list[Place]:
        """Where documents lie in the store."""
        entries = self.table[numbers]
        return list(zip(entries["offset"].tolist(), entries["size"].tolist(), strict=True))

    def documents(self, numbers: Numbers) -> Iterator[Document]:
        """Read documents back."""
        for batch in self.batches(numbers):
            yield from read_documents(self.store, self.places(batch))

    def batches(self, numbers: Numbers) -> Iterator[Numbers]:
        """`numbers` in runs of about `TASK_CHARACTERS`."""
        total = np.cumsum(self.table["characters"][numbers], dtype=np.int64) // TASK_CHARACTERS
        return iter(np.split(numbers, np.flatnonzero(total[1:] != total[:-1]) + 1) if len(numbers) else [])

    def replace(self, number: int, parts: Sequence[Document], store: DocumentStore, seed: int) -> None:
        """Put the parts of a document in its place, one for each split in their order; `store` is open."""
        packed = [pack(part) for part in parts]
        entries = table_of(parts, packed, seed)
        entries["offset"] += store.size
        store.append(b"".join(packed))
        self.kept[number] = False
        self.extend([entries])
        self.assigned[-len(parts) :] = np.arange(len(parts))

    def drop(self, number: int, problem: Diagnostic) -> Dropped:
        """Leave a document out and count it."""
        self.kept[number] = False
        return self.reports[int(self.table[number]["source"])].drop(problem)


def table_of(documents: Sequence[Document], packed: Sequence[bytes], seed: int) -> npt.NDArray[np.void]:
    """`DOCUMENT_DTYPE` [n] of documents that lie packed one after the other; offsets count from the first."""
    table = np.zeros(len(documents), dtype=DOCUMENT_DTYPE)
    for entry, document, data in zip(table, documents, packed, strict=True):
        entry["key"] = np.frombuffer(content_key(document), dtype="<u8")
        entry["order"] = np.frombuffer(_order_key(document, seed), dtype="<u8")
        entry["size"], entry["characters"] = len(data), document.characters
        entry["source"], entry["kind"] = document.source, KINDS.index(document.kind)
        entry["zero_weights"] = sum(not turn.weight for turn in document.turns)
    table["offset"] = np.cumsum(table["size"], dtype=np.uint64) - table["size"]
    return table


def content_key(document: Document) -> bytes:
    """A hash of `KEY_BYTES` that is equal for documents equal up to case and white space, roles included.

    BLAKE2b; with 128 bits, two of a billion different documents collide with a probability of about 1e-21.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for role, content in [("", document.text), *((turn.role, turn.content) for turn in document.turns)]:
        words = " ".join(content.casefold().split()).encode("utf-8", "surrogatepass")
        digest.update(f"{role}:{len(words)}:".encode() + words)
    return digest.digest()


def _order_key(document: Document, seed: int) -> bytes:
    """A keyed hash of the content; sorting by it shuffles whatever the order of the sources."""
    digest = hashlib.blake2b(document.text.encode("utf-8"), digest_size=16, key=seed.to_bytes(8, "little"))
    for turn in document.turns:
        digest.update(f"\0{turn.role}\0{turn.content}".encode())
        if not turn.weight:
            digest.update(b"\0")
    return digest.digest()
