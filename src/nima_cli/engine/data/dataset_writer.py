"""Writes a prepared dataset, all of it or none; knows nothing of where documents come from.

Everything is written into `<folder>/.staging-<pid>` first. Then the old metadata goes, the files move in, and the new
metadata moves last: a folder with metadata holds a whole dataset, at any moment. A staging folder that a killed process
left behind also says that the files around it are a dataset that was being replaced.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nima_cli.engine.data.dataset_files import INDEX_DTYPE, METADATA, SPLITS, token_dtype, tokenizer_name
from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.samples import EncodedDocument
from nima_cli.engine.data.text_view import Entry, render_entry
from nima_cli.engine.data.tokenizer import Tokenizer
from nima_cli.errors import DataError
from nima_cli.files import explain, folder_lock, fsync_folder

_SPLIT_FILES = tuple(f"{split}{suffix}" for split in SPLITS for suffix in (".txt", ".bin", ".mask", ".index.npy"))
_TOKENIZER_FILES = tuple(
    f"tokenizer_{kind}{suffix}" for kind in ("bpe", "unigram", "char") for suffix in (".model", ".json")
)
OWN_FILES = (*_SPLIT_FILES, *_TOKENIZER_FILES)


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make `folder` if need be and hold its lock; after a failure, a folder that was not there is gone again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with folder_lock(folder):
            yield
    except BaseException:
        if missing:
            with contextlib.suppress(OSError):
                (folder / ".lock").unlink(missing_ok=True)
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def refuse_foreign_files(folder: Path) -> None:
    """Do not overwrite files that only happen to have our names.

    Raises:
        DataError: `folder` holds some, and no sign of an interrupted preparation.
    """
    found = [name for name in OWN_FILES if (folder / name).exists()]
    if found and not (folder / METADATA).exists() and not _leftovers(folder):
        raise DataError(
            f"{folder / found[0]}: is already there and belongs to no prepared dataset",
            hint="choose another `--output-dir`, or pass `--overwrite` to replace it",
        )


def _leftovers(folder: Path) -> list[Path]:
    return sorted(folder.glob(".staging-*"))


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """What one split holds; see `contract` in the metadata. `target_*` count what carries loss."""

    documents: int
    samples: int
    tokens: int
    characters: int
    bytes: int
    target_tokens: int
    target_bytes: int


class DatasetWriter:
    """Stages the files of one dataset; make it with `staged`, under the folder's lock."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, *, loss: str) -> None:
        self._folder = folder
        self._staging = folder / f".staging-{os.getpid()}"
        self._tokenizer = tokenizer
        self._masked = loss == "assistant"
        self.hashes: dict[str, str] = {}

    def write_tokenizer(self) -> list[str]:
        """Stage the tokenizer's files; returns notes."""
        self._write(tokenizer_name(self._tokenizer.kind), [self._tokenizer.proto])
        twin = self._tokenizer.json_twin()
        if twin is None:
            return [f"no tokenizer_{self._tokenizer.kind}.json: that format cannot promise the same token ids"]
        self._write(f"tokenizer_{self._tokenizer.kind}.json", [twin.encode("utf-8")])
        return []

    def write_split(self, split: str, encoded: list[EncodedDocument], source_names: list[str]) -> SplitCounts:
        """Stage one split: token ids, loss mask when there is one, index and readable view."""
        dtype = token_dtype(self._tokenizer.vocab_size)
        self._write(f"{split}.bin", (one.ids.astype(dtype).tobytes() for one in encoded))
        if self._masked:
            self._write(f"{split}.mask", (one.mask.tobytes() for one in encoded))
        index = _index(encoded)
        self._save_array(f"{split}.index.npy", index)
        self._write(f"{split}.txt", (_view(one, source_names).encode("utf-8") for one in encoded))
        return self._count(encoded, samples=len(index))

    def publish(self, metadata: dict[str, Any]) -> None:
        """Move everything into place; the dataset exists when this returns.

        Raises:
            ResourceError: the system refused; what was moved is removed again.
        """
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        names = [*self.hashes, METADATA]
        self._write(METADATA, [text.encode("utf-8")])
        try:
            (self._folder / METADATA).unlink(missing_ok=True)
            fsync_folder(self._folder)
            for name in set(OWN_FILES) - set(names):
                (self._folder / name).unlink(missing_ok=True)
            for name in names:
                if name == METADATA:
                    fsync_folder(self._folder)
                os.replace(self._staging / name, self._folder / name)
            fsync_folder(self._folder)
        except OSError as error:
            for name in names:
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
            raise explain(error, self._folder, "move the new dataset into this folder") from error

    def _count(self, encoded: list[EncodedDocument], *, samples: int) -> SplitCounts:
        byte_lengths = self._tokenizer.byte_lengths()
        target_tokens = target_bytes = content = 0
        for one in encoded:
            target = one.mask.astype(bool) if self._masked else one.ids != self._tokenizer.bos_id
            target_tokens += int(target.sum())
            target_bytes += int(byte_lengths[one.ids[target]].sum())
            content += int(byte_lengths[one.ids].sum())
        return SplitCounts(
            documents=len(encoded),
            samples=samples,
            tokens=sum(len(one.ids) for one in encoded),
            characters=sum(one.document.characters for one in encoded),
            bytes=content,
            target_tokens=target_tokens,
            target_bytes=target_bytes,
        )

    def _write(self, name: str, parts: Iterable[bytes]) -> None:
        digest = hashlib.sha256()
        with self._opened(name) as stream:
            for part in parts:
                digest.update(part)
                stream.write(part)
        if name != METADATA:
            self.hashes[name] = digest.hexdigest()

    def _save_array(self, name: str, array: np.ndarray) -> None:
        with self._opened(name) as stream:
            np.save(stream, array, allow_pickle=False)
        with (self._staging / name).open("rb") as stream:
            self.hashes[name] = hashlib.file_digest(stream, "sha256").hexdigest()

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        try:
            self._staging.mkdir(exist_ok=True)
            with (self._staging / name).open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise explain(error, self._folder / name, "write") from error


@contextlib.contextmanager
def staged(folder: Path, tokenizer: Tokenizer, *, loss: str) -> Iterator[DatasetWriter]:
    """A writer into `folder`, whose lock is held; its staging folder is gone afterwards, whatever happens."""
    writer = DatasetWriter(folder, tokenizer, loss=loss)
    try:
        yield writer
    finally:
        for leftover in _leftovers(folder):
            shutil.rmtree(leftover, ignore_errors=True)


def _index(encoded: list[EncodedDocument]) -> np.ndarray:
    rows = [
        (length, number, one.document.source, KINDS.index(one.document.kind))
        for number, one in enumerate(encoded)
        for length in one.lengths
    ]
    index = np.array(rows, dtype=INDEX_DTYPE)
    ends = np.cumsum(index["offset"])
    index["offset"] = ends - index["offset"]
    return index


def _view(one: EncodedDocument, source_names: list[str]) -> str:
    document = one.document
    return render_entry(Entry(document.kind, source_names[document.source], document.text, document.turns))
