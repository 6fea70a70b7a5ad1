"""Finds documents that say the same, so that none is learned twice or tested on; knows nothing of files or tokens."""

import hashlib
from collections.abc import Callable, Iterable, Iterator

from nima_cli.engine.data.document import Document

KEY_BYTES = 16


def content_key(document: Document) -> bytes:
    """A hash of `KEY_BYTES` that is equal for documents equal up to case and white space, roles included.

    BLAKE2b; with 128 bits, two of a billion different documents collide with a probability of about 1e-21.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for role, content in [("", document.text), *((turn.role, turn.content) for turn in document.turns)]:
        words = " ".join(content.casefold().split()).encode("utf-8", "surrogatepass")
        digest.update(f"{role}:{len(words)}:".encode() + words)
    return digest.digest()


def drop_exact(documents: Iterable[Document], on_duplicate: Callable[[Document], None]) -> Iterator[Document]:
    """Yield the first document of each content, in order; memory is one key per document kept.

    Args:
        documents: any stream.
        on_duplicate: called with each document that is left out, for counting.
    """
    seen: set[bytes] = set()
    for document in documents:
        key = content_key(document)
        if key in seen:
            on_duplicate(document)
        else:
            seen.add(key)
            yield document
