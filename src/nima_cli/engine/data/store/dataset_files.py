"""Names and formats of the files of a prepared dataset, and reading them checked, without torch."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli import __version__
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.errors import DataError, NimaError, NotPreparedError
from nima_cli.files import explain, sha256_file

FORMAT = 1
SPLITS = ("train", "val", "test")
METADATA = "dataset_metadata.json"

# One row for each sample, in file order; a sample's tokens end where the next one's begin.
INDEX_DTYPE = np.dtype([("offset", "<u8"), ("document", "<u4"), ("source", "<u2"), ("kind", "u1")])

AGAIN = "run `nima data prepare` again"
_LARGE = 64 * 2**20  # bytes; smaller files are hashed in a moment


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Little-endian unsigned integers, as narrow as the vocabulary allows."""
    return np.dtype("<u2" if vocab_size <= 65535 else "<u4")


def tokenizer_name(kind: str) -> str:
    """File name of a tokenizer: the SentencePiece model, or the bundle of a pretrained model's files."""
    return f"tokenizer_{kind}.model"


@dataclass(frozen=True, slots=True)
class SplitArrays:
    """The memory maps of one split.

    Attributes:
        tokens: ids of all samples, one after the other.
        mask: 1 where a token carries loss as a target; None if all do but `<|bos|>`.
        index: `INDEX_DTYPE`, one row for each sample.
    """

    tokens: npt.NDArray[Any]
    mask: npt.NDArray[np.uint8] | None
    index: npt.NDArray[Any]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each sample."""
        offsets = self.index["offset"].astype(np.int64)
        return np.diff(offsets, append=len(self.tokens))


@dataclass(eq=False)
class DatasetFiles:
    """A prepared dataset.

    Attributes:
        metadata: the contents of `dataset_metadata.json`.
        sha256: of the metadata file, which holds the hashes of all other files.
        unchecked: large files whose hashes have not been compared yet.
    """

    folder: Path
    metadata: Mapping[str, Any]
    tokenizer: Tokenizer
    sha256: str
    unchecked: tuple[tuple[Path, str], ...] = ()

    _mapped: dict[str, SplitArrays] = field(default_factory=dict, init=False, repr=False)

    def arrays(self, split: str) -> SplitArrays:
        """The memory maps of `train`, `val` or `test`; raises `DataError` if they contradict the metadata."""
        if split not in SPLITS:
            raise DataError(f"{self.folder}: no split `{split}`; there are {', '.join(SPLITS)}")
        if split not in self._mapped:  # pages that are read through several maps are counted several times as memory
            self._mapped[split] = self._map(split)
        return self._mapped[split]

    def _map(self, split: str) -> SplitArrays:
        path = self.folder / f"{split}.bin"
        try:
            tokens = np.memmap(path, dtype=token_dtype(self.tokenizer.vocab_size), mode="r")
            index = np.load(self.folder / f"{split}.index.npy", mmap_mode="r", allow_pickle=False)
            # Older metadata has no count of messages without weight.
            masked = f"{split}.mask" in self.metadata["files"]
            mask = np.memmap(self.folder / f"{split}.mask", dtype=np.uint8, mode="r") if masked else None
        except ValueError as error:
            raise DataError(f"{path}: unreadable: {error}", hint=AGAIN) from error
        if len(tokens) != self.metadata["splits"][split]["tokens"] or (mask is not None and len(mask) != len(tokens)):
            raise DataError(f"{path}: holds {len(tokens)} tokens, not as many as the metadata says", hint=AGAIN)
        if index.dtype != INDEX_DTYPE or len(index) == 0:
            raise DataError(f"{self.folder / f'{split}.index.npy'}: not an index of samples", hint=AGAIN)
        return SplitArrays(tokens, mask, index)


def read_metadata(folder: Path) -> dict[str, Any]:
    """The metadata of a prepared dataset, without a look at its other files.

    Raises:
        NotPreparedError: there is none.
        DataError: it is damaged, or a newer nima wrote it.
        ResourceError: it cannot be read.
    """
    path = folder / METADATA
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotPreparedError(folder, f"{folder}: not a prepared dataset: it has no `{METADATA}`") from None
    except OSError as error:
        raise explain(error, path, "read this file") from error
    try:
        metadata = json.loads(raw)
        version = metadata["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError(f"{path}: damaged", hint=AGAIN) from None
    if version != FORMAT:
        raise DataError(
            f"{path}: dataset format {version}, made by nima {metadata.get('nima_version', '?')}; "
            f"this is nima {__version__}, which reads format {FORMAT}",
            hint="update nima, or run `nima data prepare` again",
        )
    if not isinstance(metadata, dict) or not {"files", "splits", "loss", "options", "sources"} <= set(metadata):
        raise DataError(f"{path}: damaged: some of its fields are missing", hint=AGAIN)
    return metadata


def read_dataset(folder: Path, *, large_later: bool = False, check: bool = True) -> DatasetFiles:
    """Open a prepared dataset and compare its files with their hashes.

    Args:
        large_later: leave files of more than 64 MiB to a `Verification`.
        check: false leaves all files unchecked.

    Raises:
        DataError: not a prepared dataset, or a file is missing or altered; names the file.
        CheckpointError: its tokenizer is not one that nima can use.
        ResourceError: a file cannot be read.
    """
    metadata = read_metadata(folder)
    later = []
    for name, expected in metadata["files"].items() if check else ():
        path = folder / Path(name).name
        if large_later and path.is_file() and path.stat().st_size > _LARGE:
            later.append((path, expected))
        else:
            _check_file(path, expected)
    tokenizer = load_tokenizer(folder / tokenizer_name(metadata["tokenizer"]["type"]))
    return DatasetFiles(folder, metadata, tokenizer, sha256_file(folder / METADATA), tuple(later))


def _check_file(path: Path, expected: str) -> None:
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        raise DataError(f"{path}: missing from this prepared dataset", hint=AGAIN) from None
    except OSError as error:
        raise explain(error, path, "read this file") from error
    if found != expected:
        raise DataError(f"{path}: altered since the dataset was prepared", hint=AGAIN)


class Verification:
    """Compares files with their hashes in a thread, so that a dataset of any size opens at once."""

    def __init__(self, files: Sequence[tuple[Path, str]]) -> None:
        self._problem: NimaError | None = None
        self._thread = threading.Thread(target=self._check, args=(tuple(files),), daemon=True)
        if files:
            self._thread.start()

    def _check(self, files: Sequence[tuple[Path, str]]) -> None:
        try:
            for path, expected in files:
                _check_file(path, expected)
        except NimaError as problem:
            self._problem = problem

    def require(self) -> None:
        """Raise what has been found so far, without waiting."""
        if self._problem is not None:
            raise self._problem
