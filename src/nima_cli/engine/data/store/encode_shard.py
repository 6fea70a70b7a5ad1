"""Encodes stored documents into the bytes of a split's files: a pure function for any process."""

import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.document import KINDS, Document
from nima_cli.engine.data.store.dataset_files import INDEX_DTYPE, token_dtype
from nima_cli.engine.data.store.document_store import read_documents
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.protocol import Loss, Sample, UnencodableError
from nima_cli.engine.data.tokenizer.samples import CachingEncoder, encode_document

_MARK = re.compile(r"^\\*<\|(?:document|system|user|assistant)\|>", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Stored documents and how to encode them.

    Attributes:
        tokenizer: its file in the dataset, and its hash.
        loss: what carries loss in conversations.
        masked: whether the split has a loss mask.
        names: of the sources, for the readable view.
        places: (offset, bytes) of each document.
    """

    store: Path
    tokenizer: tuple[Path, str]
    max_length: int
    heading_context: bool
    loss: Loss
    masked: bool
    names: tuple[str, ...]
    places: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class SplitCounts:
    """Sizes of a split or a part of it; `target_*` count only what carries loss."""

    documents: int = 0
    samples: int = 0
    tokens: int = 0
    characters: int = 0
    bytes: int = 0
    target_tokens: int = 0
    target_bytes: int = 0

    def add(self, other: "SplitCounts") -> None:
        """Add the counts of another part."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """Parts of a split's files.

    Attributes:
        ids, mask, view: contents of the files; `mask` is empty if the split has none.
        index: `INDEX_DTYPE`, a row for each sample; here `offset` is its length, and `document` counts from 0.
        overlong: samples longer than `max_length`.
        dropped: (place in the task, why) of documents that the tokenizer cannot say.
    """

    ids: bytes
    mask: bytes
    view: bytes
    index: npt.NDArray[np.void]
    counts: SplitCounts
    overlong: int
    dropped: tuple[tuple[int, Diagnostic], ...] = ()


@functools.lru_cache(maxsize=1)
def _encoder(path: Path, sha256: str) -> CachingEncoder:
    """One for each process; the hash tells tokenizers of several datasets in one folder apart."""
    return CachingEncoder(load_tokenizer(path))


def encode_shard(task: EncodeTask) -> EncodedShard:
    """Encode the documents of a task; raises `DataError` for one that does not decode to its text.

    Those that the tokenizer of a pretrained model cannot say are dropped.
    """
    encoder = _encoder(*task.tokenizer)
    documents, samples, dropped = list[Document](), list[tuple[int, Sample]](), list[tuple[int, Diagnostic]]()
    for place, document in enumerate(read_documents(task.store, task.places)):
        try:
            found = encode_document(
                document, encoder, task.max_length, heading_context=task.heading_context, loss=task.loss
            )
        except UnencodableError as error:
            dropped.append((place, Diagnostic(document.where, error.message, error.reason)))
            continue
        samples += [(len(documents), sample) for sample in found]
        documents.append(document)
    ids = _joined([sample.ids for _, sample in samples], np.dtype(np.uint32))
    mask = _joined([sample.mask for _, sample in samples], np.dtype(np.uint8))
    origins = [(document.source, KINDS.index(document.kind)) for document in documents]
    index = [(len(sample.ids), number, *origins[number]) for number, sample in samples]
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
        dropped=tuple(dropped),
    )


def _joined(parts: Iterable[Sequence[int]], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(part, dtype) for part in parts)])


def view_of(document: Document, names: Sequence[str]) -> str:
    """A document as `train.txt` and the like hold it, from which it can be read back exactly.

    The line `<|document|> kind source` opens it, with JSON's escapes in the name of the source. In a conversation
    `<|system|>`, `<|user|>` or `<|assistant|>` on a line of its own opens each turn. A line of content that starts like
    one of these, or with backslashes and then like one, gets one more backslash. A blank line closes the document.
    """
    head = f"<|document|> {document.kind} {json.dumps(names[document.source])[1:-1]}\n"
    if document.kind in ("text", "markdown"):
        return f"{head}{_escaped(document.text)}\n"
    return head + "".join(f"<|{turn.role}|>\n{_escaped(turn.content)}" for turn in document.turns) + "\n"


def _escaped(content: str) -> str:
    return _MARK.sub(r"\\\g<0>", content) + "\n"
