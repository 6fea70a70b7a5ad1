"""Keeps documents in a file while a dataset is made, so that memory does not grow with the text.

A document is stored as one JSON value; the caller remembers where it lies.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from nima_cli.engine.data.document import Document, Turn
from nima_cli.files import explaining


def pack(document: Document) -> bytes:
    """A document as bytes."""
    turns = [
        [turn.role, turn.content] if turn.weight else [turn.role, turn.content, turn.weight] for turn in document.turns
    ]
    fields = [document.kind, document.source, document.where, document.text, turns]
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")


def unpack(data: bytes) -> Document:
    """The inverse of `pack`."""
    kind, source, where, text, turns = json.loads(data.decode("utf-8", "surrogatepass"))
    return Document(kind, source, where, text, tuple(Turn(*turn) for turn in turns))


class DocumentStore:
    """Writes packed documents one after the other; closing it is the caller's part."""

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self.path = path
        self.size = 0
        with explaining(path, "write"):
            self._stream: IO[bytes] = path.open("wb")

    def append(self, data: bytes) -> None:
        """Add packed documents; what was added can be read back from any process."""
        with explaining(self.path, "write"):
            self._stream.write(data)
            self._stream.flush()
        self.size += len(data)

    @contextlib.contextmanager
    def reopened(self) -> Iterator[None]:
        """Take more documents after it was closed."""
        with explaining(self.path, "write"):
            self._stream = self.path.open("ab")
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()


def read_documents(path: Path, places: Iterable[tuple[int, int]]) -> Iterator[Document]:
    """The documents at `places`, each (offset, bytes), in that order."""
    with explaining(path, "read"), path.open("rb") as stream:
        for offset, size in places:
            stream.seek(offset)
            yield unpack(stream.read(size))
