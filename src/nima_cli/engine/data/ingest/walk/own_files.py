"""Recognises prepared datasets and run directories that nima wrote, by names first and then by one small file."""

import re
from collections.abc import Set
from pathlib import Path

from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.data.ingest.contents import head_of
from nima_cli.engine.data.store.dataset_files import METADATA, SPLITS

_SPLIT_FILES = tuple(f"{split}{suffix}" for split in SPLITS for suffix in (".txt", ".bin", ".mask", ".index.npy"))
_MODELS = ("bpe", "unigram", "char", "hf")
_TOKENIZER_FILES = tuple(f"tokenizer_{model}{suffix}" for model in _MODELS for suffix in (".model", ".json"))
DATASET_FILES = (*_SPLIT_FILES, *_TOKENIZER_FILES)

# A preparation under way or killed, and the lock of a folder that nima writes to.
_WORKING = re.compile(r"\.staging-\d+|\.lock(\.owner)?")
_STAGING = re.compile(r"\.staging-\d+")
_METADATA_FIELD = re.compile(rb'"nima_version"\s*:')
_REPORT_ROW = re.compile(rb'\{"source": "[^\n]*", "where": "[^\n]*", "reason": "[^\n]*", "figures": \{')
_METRICS_ROW = re.compile(rb'\s*\{\s*"event"\s*:\s*"')
_CHECKPOINT = re.compile(r"checkpoint_(best|last|step_\d+)\..+")
# A report of `nima eval` may have any name, so every page in a run directory counts as one.
_RUN_FILE = re.compile(r"config\.yaml|metrics\.jsonl|samples\.jsonl|logs|tensorboard|plots|wandb|.+\.html?")
_HEAD = 2**16


def kinds_of(folder: Path, names: Set[str]) -> list[str]:
    """Tell what nima wrote in a folder with these entries: `dataset`, `run`, both or neither.

    Half-written, older, renamed and unfinished ones are recognised too.
    """
    return ["dataset"] * _is_dataset(folder, names) + ["run"] * _is_run(folder, names)


def is_own(kind: str, name: str) -> bool:
    if _WORKING.fullmatch(name):
        return True
    if kind == "dataset":
        return name == METADATA or name in DATASET_FILES
    return bool(_CHECKPOINT.fullmatch(name) or _RUN_FILE.fullmatch(name))


def kind_of_file(file: Path) -> str | None:
    """Return `dataset` or `run` if a single file is part of one."""
    if not (is_own("dataset", file.name) or is_own("run", file.name)):
        return None
    try:
        names = {entry.name for entry in file.parent.iterdir()}
    except OSError:
        return None
    return next((kind for kind in kinds_of(file.parent, names) if is_own(kind, file.name)), None)


def is_report(file: Path) -> bool:
    """Whether a file is the list that a preparation wrote of all that it dropped."""
    return file.suffix == ".jsonl" and bool(_REPORT_ROW.match(head_of(file, _HEAD)))


def _is_dataset(folder: Path, names: Set[str]) -> bool:
    return (
        bool(METADATA in names and _METADATA_FIELD.search(head_of(folder / METADATA, _HEAD)))
        or any({f"{split}.bin", f"{split}.index.npy"} <= names for split in SPLITS)
        or any(_STAGING.fullmatch(name) for name in names)
    )


def _is_run(folder: Path, names: Set[str]) -> bool:
    if "metrics.jsonl" in names:
        head = head_of(folder / "metrics.jsonl", _HEAD)
        if _METRICS_ROW.match(head) or (not head and "config.yaml" in names):
            return True
    return not names.isdisjoint({BEST, LAST}) and not names.isdisjoint({"config.yaml", "metrics.jsonl"})
