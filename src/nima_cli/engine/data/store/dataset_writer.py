"""Writes a prepared dataset, all of it or nothing.

The files are written into `<folder>/.staging-<pid>` first. Then the old metadata is removed, the files move in, and the
new metadata last, so that a folder with metadata holds a whole dataset at any moment. A staging folder that a killed
process left is a sign that the files around it are a dataset.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.ingest.walk import own_files
from nima_cli.engine.data.store.dataset_files import METADATA, tokenizer_name
from nima_cli.engine.data.store.encode_shard import EncodedShard, SplitCounts
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.errors import DataError
from nima_cli.events import Event
from nima_cli.files import explain, explaining, folder_lock, fsync_folder


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create `folder` if need be and hold its lock; after an error, remove what was created."""
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


def refuse_foreign_files(folder: Path, *, overwrite: bool) -> None:
    """Raise `DataError` unless `folder` is empty or holds a dataset; one without metadata only with `overwrite`."""
    with explaining(folder, "look into this folder"):
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if METADATA in names and own_files.kinds_of(folder, names):
        return
    visible = sorted(name for name in names if not name.startswith("."))
    foreign = [name for name in visible if not own_files.is_own("dataset", name)]
    interrupted = any(name.startswith(".staging-") for name in names)
    if foreign or (visible and not own_files.kinds_of(folder, names)):
        found = (foreign or visible)[0]
        raise DataError(
            f"{folder / found}: is already there and belongs to no prepared dataset",
            hint="a dataset has a folder of its own: choose a new or empty one",
        )
    if visible and not (overwrite or interrupted):
        raise DataError(
            f"{folder / visible[0]}: is part of a dataset without `{METADATA}`",
            hint="pass `overwrite=True` to replace it, or choose another folder",
        )


class DatasetWriter:
    """Stages the files of one dataset in `staging` and keeps their SHA-256 in `hashes`; made by `staged`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.staging = folder / f".staging-{os.getpid()}"
        self.hashes: dict[str, str] = {}

    def write_tokenizer(self, tokenizer: Tokenizer) -> list[str]:
        """Stage the tokenizer's files; returns notes."""
        self._write(tokenizer_name(tokenizer.kind), tokenizer.proto)
        hf_json = tokenizer.hf_json()
        if hf_json is None:
            return [f"no tokenizer_{tokenizer.kind}.json: that format cannot promise the same token ids"]
        self._write(f"tokenizer_{tokenizer.kind}.json", hf_json.encode("utf-8"))
        return []

    def write_split(
        self, split: str, shards: Iterable[EncodedShard], tell: Callable[[EncodedShard], Event], *, masked: bool
    ) -> Generator[Event, None, tuple[SplitCounts, npt.NDArray[np.int64]]]:
        """Stage one split: token ids, index, readable view, and a loss mask if `masked`; `tell` makes its events.

        Returns:
            The sizes of the split, and int64 [d], the tokens of each document.
        """
        counts, indexes = SplitCounts(), list[npt.NDArray[np.void]]()
        with contextlib.ExitStack() as stack:
            ids, view = (stack.enter_context(self._staged(f"{split}{suffix}")) for suffix in (".bin", ".txt"))
            mask = stack.enter_context(self._staged(f"{split}.mask")) if masked else None
            for shard in shards:
                ids.write(shard.ids)
                view.write(shard.view)
                if mask is not None:
                    mask.write(shard.mask)
                shard.index["document"] += counts.documents
                indexes.append(shard.index)
                counts.add(shard.counts)
                yield tell(shard)
        index = np.concatenate(indexes)
        lengths = index["offset"].astype(np.int64)
        of_documents = np.bincount(index["document"], weights=lengths, minlength=counts.documents).astype(np.int64)
        index["offset"] = np.cumsum(lengths) - lengths
        with self._staged(f"{split}.index.npy") as stream:
            np.save(stream, index, allow_pickle=False)
        return counts, of_documents

    def publish(self, metadata: dict[str, Any]) -> None:
        """Move all files into place; on an error, remove those that were moved and raise `ResourceError`."""
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        names = [*self.hashes, METADATA]
        self._write(METADATA, text.encode("utf-8"))
        try:
            (self._folder / METADATA).unlink(missing_ok=True)
            fsync_folder(self._folder)
            for name in set(own_files.DATASET_FILES) - set(names):
                (self._folder / name).unlink(missing_ok=True)
            for name in names:
                if name == METADATA:
                    fsync_folder(self._folder)
                os.replace(self.staging / name, self._folder / name)
            fsync_folder(self._folder)
        except OSError as error:
            for name in names:
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink(missing_ok=True)
            raise explain(error, self._folder, "move the new dataset into this folder") from error

    def _write(self, name: str, data: bytes) -> None:
        with self._staged(name) as stream:
            stream.write(data)

    @contextlib.contextmanager
    def _staged(self, name: str) -> Iterator["_HashedStream"]:
        with explaining(self._folder / name, "write"), (self.staging / name).open("wb") as stream:
            hashed = _HashedStream(stream)
            yield hashed
            stream.flush()
            os.fsync(stream.fileno())
        self.hashes[name] = hashed.digest.hexdigest()


class _HashedStream:
    """Hashes what it writes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self._stream.write(data)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[DatasetWriter]:
    """A writer into `folder`, whose lock the caller holds; its staging folder is removed in any case."""
    writer = DatasetWriter(folder)
    leftovers = set(folder.glob(".staging-*"))
    try:
        with explaining(folder, "write in this folder"):
            writer.staging.mkdir(exist_ok=True)
        for leftover in leftovers - {writer.staging}:
            shutil.rmtree(leftover, ignore_errors=True)
        yield writer
    finally:
        for leftover in leftovers | {writer.staging}:
            shutil.rmtree(leftover, ignore_errors=True)
