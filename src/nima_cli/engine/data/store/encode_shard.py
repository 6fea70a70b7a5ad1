"""Turns stored documents into the bytes of a split's files: a pure function, to be called on any core."""

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.document import KINDS, Document
from nima_cli.engine.data.store.dataset_files import INDEX_DTYPE, token_dtype
from nima_cli.engine.data.store.document_store import read_documents
from nima_cli.engine.data.tokenizer.chat_format import Loss
from nima_cli.engine.data.tokenizer.encoder import CachingEncoder
from nima_cli.engine.data.tokenizer.samples import encode_document
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer

_MARK = re.compile(r"^\\*<\|(?:document|system|user|assistant)\|>", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Stored documents, and how to encode them.

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


@dataclass(slots=True)
class SplitCounts:
    """What a split holds, or a part of one; `characters` and `bytes` of its text, `target_*` of what carries loss."""

    documents: int = 0
    samples: int = 0
    tokens: int = 0
    characters: int = 0
    bytes: int = 0
    target_tokens: int = 0
    target_bytes: int = 0

    def add(self, other: "SplitCounts") -> None:
        """Count what another part holds, too."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """Parts of the files of a split.

    Attributes:
        ids, mask, view: bytes of the token ids, the loss mask (empty where there is none) and the readable view.
        index: `INDEX_DTYPE`, one row for each sample; `offset` holds its length and `document` counts from 0 here.
        overlong: samples longer than asked.
    """

    ids: bytes
    mask: bytes
    view: bytes
    index: npt.NDArray[np.void]
    counts: SplitCounts
    overlong: int

    @property
    def documents(self) -> int:
        """How many there are in it."""
        return self.counts.documents


@functools.lru_cache(maxsize=1)
def _encoder(path: Path, sha256: str) -> CachingEncoder:
    """One for each process; the hash keeps an earlier dataset's tokenizer from being taken for this one."""
    return CachingEncoder(Tokenizer.load(path))


def encode_shard(task: EncodeTask) -> EncodedShard:
    """Encode the documents of a task, each proven to decode to its text.

    Raises:
        DataError: a document cannot be encoded; names it.
        ResourceError: the stored documents or the tokenizer cannot be read.
    """
    encoder = _encoder(*task.tokenizer)
    documents = list(read_documents(task.spool, task.places))
    samples = [
        (number, sample)
        for number, document in enumerate(documents)
        for sample in encode_document(
            document, encoder, task.max_length, heading_context=task.heading_context, loss=task.loss
        )
    ]
    ids = np.concatenate([np.asarray(sample.ids, dtype=np.uint32) for _, sample in samples])
    mask = np.concatenate([np.asarray(sample.mask, dtype=np.uint8) for _, sample in samples])
    index = [
        (len(sample.ids), number, documents[number].source, KINDS.index(documents[number].kind))
        for number, sample in samples
    ]
    target = mask.astype(bool)
    byte_lengths = encoder.tokenizer.byte_lengths()
    return EncodedShard(
        ids=ids.astype(token_dtype(encoder.tokenizer.vocab_size)).tobytes(),
        mask=mask.tobytes() if task.masked else b"",
        view="".join(view_of(document, task.names) for document in documents).encode("utf-8"),
        index=np.array(index, dtype=INDEX_DTYPE),
        counts=SplitCounts(
            documents=len(documents),
            samples=len(samples),
            tokens=len(ids),
            characters=sum(document.characters for document in documents),
            bytes=int(byte_lengths[ids].sum()),
            target_tokens=int(target.sum()),
            target_bytes=int(byte_lengths[ids[target]].sum()),
        ),
        overlong=sum(len(sample.ids) > task.max_length for _, sample in samples),
    )


def view_of(document: Document, names: Sequence[str]) -> str:
    r"""A document in `train.txt` and its like, so that it can be read back exactly.

    A line `<|document|> kind source` opens it; in a conversation `<|system|>`, `<|user|>` and `<|assistant|>` alone on
    a line open each turn. A content line that starts like one of them, or with backslashes before such a mark, gets one
    backslash more. The source name is written with JSON's escapes. A blank line closes the document.
    """
    head = f"<|document|> {document.kind} {json.dumps(names[document.source])[1:-1]}\n"
    if document.kind in ("text", "markdown"):
        return f"{head}{_escaped(document.text)}\n"
    return head + "".join(f"<|{turn.role}|>\n{_escaped(turn.content)}" for turn in document.turns) + "\n"


def _escaped(content: str) -> str:
    return _MARK.sub(r"\\\g<0>", content) + "\n"
