"""Finds documents that say the same, so that none is learned twice or tested on; knows nothing of files or tokens."""

import hashlib

import numpy as np
import numpy.typing as npt

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


def first_of_each(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """For each row the number of the first row with the same key: its own where the content is new.

    Args:
        keys: uint64 [n, 2], from `content_key`.
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    sorted_keys = keys[order]
    begins = np.ones(len(keys), dtype=bool)
    begins[1:] = (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1)
    first = np.empty(len(keys), dtype=np.int64)
    # The sort is stable, so the first of a group is its smallest number.
    first[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))]
    return first
