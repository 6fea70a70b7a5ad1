"""Recognises what nima itself wrote, prepared datasets and run directories, by their own files.

Names decide first, so that an ordinary folder costs nothing; then the head of one small file.
"""

import re
from collections.abc import Set
from pathlib import Path

from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.data.store.dataset_files import METADATA, SPLITS

_SPLIT_FILES = tuple(f"{split}{suffix}" for split in SPLITS for suffix in (".txt", ".bin", ".mask", ".index.npy"))
_TOKENIZER_FILES = tuple(
    f"tokenizer_{kind}{suffix}" for kind in ("bpe", "unigram", "char") for suffix in (".model", ".json")
)
DATASET_FILES = (*_SPLIT_FILES, *_TOKENIZER_FILES)

# A preparation that goes on or was killed; the lock of any folder that nima writes in.
_WORKING = re.compile(r"\.staging-\d+|\.lock(\.owner)?")
_STAGING = re.compile(r"\.staging-\d+")
_METADATA_FIELD = re.compile(rb'"nima_version"\s*:')
_REPORT_ROW = re.compile(rb'\{"source": "[^\n]*", "where": "[^\n]*", "reason": "[^\n]*", "figures": \{')
_METRICS_ROW = re.compile(rb'\s*\{\s*"event"\s*:\s*"')
_CHECKPOINT = re.compile(r"checkpoint_(best|last|step_\d+)\..+")
# A report of `nima eval` may have any name, so a page in a run directory is taken for one.
_RUN_FILE = re.compile(r"config\.yaml|metrics\.jsonl|samples\.jsonl|logs|tensorboard|plots|wandb|.+\.html?")
_HEAD = 2**16


def kinds_of(folder: Path, names: Set[str]) -> list[str]:
    """What of nima's lies in a folder: `dataset`, `run`, both or neither.

    A dataset is known by its metadata, by ids with their index, or by the staging folder of a preparation; a run by its
    metrics or its checkpoints. So one that is half written, older, renamed or still going on is known too.

    Args:
        names: all entries of the folder, hidden ones too.
    """
    return [kind for kind, is_one in (("dataset", _is_dataset), ("run", _is_run)) if is_one(folder, names)]


def is_own(kind: str, name: str) -> bool:
    """Whether an entry of this name is part of a dataset or run directory and not of what else is in its folder."""
    if _WORKING.fullmatch(name):
        return True
    if kind == "dataset":
        return name == METADATA or name in DATASET_FILES
    return bool(_CHECKPOINT.fullmatch(name) or _RUN_FILE.fullmatch(name))


def kind_of_file(file: Path) -> str | None:
    """Whether a single file is part of a `dataset` or of a `run`."""
    if not (is_own("dataset", file.name) or is_own("run", file.name)):
        return None
    try:
        names = {entry.name for entry in file.parent.iterdir()}
    except OSError:
        return None
    return next((kind for kind in kinds_of(file.parent, names) if is_own(kind, file.name)), None)


def is_report(file: Path) -> bool:
    """Whether a file is what a preparation wrote of all that it left out."""
    return file.suffix == ".jsonl" and bool(_REPORT_ROW.match(_head(file)))


def _is_dataset(folder: Path, names: Set[str]) -> bool:
    if METADATA in names and _METADATA_FIELD.search(_head(folder / METADATA)):
        return True
    if any({f"{split}.bin", f"{split}.index.npy"} <= names for split in SPLITS):
        return True
    return any(_STAGING.fullmatch(name) for name in names)


def _is_run(folder: Path, names: Set[str]) -> bool:
    if "metrics.jsonl" in names:
        head = _head(folder / "metrics.jsonl")
        if _METRICS_ROW.match(head) or (not head and "config.yaml" in names):
            return True
    return not names.isdisjoint({BEST, LAST}) and not names.isdisjoint({"config.yaml", "metrics.jsonl"})


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""
