"""Turns documents of the spool into the bytes of a split, on any core; pure functions, writes no files."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.store.dataset_files import INDEX_DTYPE, token_dtype
from nima_cli.engine.data.store.document_store import read_documents
from nima_cli.engine.data.store.text_view import Entry, render_entry
from nima_cli.engine.data.tokenizer.chat_format import Loss
from nima_cli.engine.data.tokenizer.encoder import CachingEncoder
from nima_cli.engine.data.tokenizer.samples import EncodedDocument, encode_document
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Documents of the spool, and how to encode them.

    Attributes:
        tokenizer: path of the SentencePiece file, with its hash.
        loss: what of conversations carries loss.
        masked: whether the split has a loss mask: not every token but `<|bos|>` carries loss.
        names: of the sources, for the readable view.
        places: (offset, bytes) of each document.
    """

    spool: Path
    tokenizer: tuple[Path, str]
    max_length: int
    heading_context: bool
    loss: Loss
    masked: bool
    names: tuple[str, ...]
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """Parts of the files of a split, and what they hold.

    Attributes:
        ids, mask, view: bytes of the token ids, the loss mask (empty where there is none) and the readable view.
        index: `INDEX_DTYPE`, one a sample; `offset` holds the sample's length and `document` counts from 0 here.
        characters, content_bytes, target_tokens, target_bytes: sums over the documents; `target` is what carries loss.
        overlong: samples longer than asked.
    """

    ids: bytes
    mask: bytes
    view: bytes
    index: npt.NDArray[np.void]
    documents: int
    characters: int
    content_bytes: int
    target_tokens: int
    target_bytes: int
    overlong: int


@functools.lru_cache(maxsize=1)
def _encoder(path: Path, sha256: str) -> CachingEncoder:
    """One a process; the hash in the key keeps an earlier dataset's tokenizer from being taken for this one."""
    return CachingEncoder(Tokenizer.load(path))


def encode_shard(task: EncodeTask) -> EncodedShard:
    """Encode the documents of a task, each proven to decode to its text.

    Raises:
        DataError: a document cannot be encoded; names it.
        ResourceError: the spool or the tokenizer cannot be read.
    """
    encoder = _encoder(*task.tokenizer)
    documents = read_documents(task.spool, task.places)
    encoded = [
        encode_document(document, encoder, task.max_length, heading_context=task.heading_context, loss=task.loss)
        for document in documents
    ]
    ids = np.concatenate([one.ids for one in encoded])
    mask = np.concatenate([one.mask for one in encoded])
    target = mask.astype(bool)
    byte_lengths = encoder.tokenizer.byte_lengths()
    return EncodedShard(
        ids=ids.astype(token_dtype(encoder.tokenizer.vocab_size)).tobytes(),
        mask=mask.tobytes() if task.masked else b"",
        view="".join(_view(one, task.names) for one in encoded).encode("utf-8"),
        index=_index(encoded),
        documents=len(encoded),
        characters=sum(one.document.characters for one in encoded),
        content_bytes=int(byte_lengths[ids].sum()),
        target_tokens=int(target.sum()),
        target_bytes=int(byte_lengths[ids[target]].sum()),
        overlong=sum(one.overlong for one in encoded),
    )


def _index(encoded: Sequence[EncodedDocument]) -> npt.NDArray[np.void]:
    rows = [
        (length, number, one.document.source, KINDS.index(one.document.kind))
        for number, one in enumerate(encoded)
        for length in one.lengths
    ]
    return np.array(rows, dtype=INDEX_DTYPE)


def _view(one: EncodedDocument, names: Sequence[str]) -> str:
    document = one.document
    return render_entry(Entry(document.kind, names[document.source], document.text, document.turns))
