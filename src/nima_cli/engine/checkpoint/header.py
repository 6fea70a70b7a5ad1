"""Reads the header of an untrusted checkpoint, without its tensors and without torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nima_cli import __version__
from nima_cli.engine.checkpoint.archive import open_archive, shown
from nima_cli.errors import CheckpointError, ResourceError

Facts = dict[str, Any]


def _from_format_1(values: Facts, header: Facts) -> tuple[Facts, Facts]:
    """Format 1 held models of nima's own shape only, which learnt from sequences of their whole context."""
    shape, config = header.get("model_shape"), header.get("config")
    if isinstance(shape, dict):
        width, heads = shape.get("d_model"), shape.get("n_heads")
        head_dim = width // heads if isinstance(width, int) and isinstance(heads, int) and heads > 0 else None
        shape = {**shape, "head_dim": head_dim, "qkv_bias": False, "norm_epsilon": 1e-6, "rope_scaling": None}
        header = {**header, "model_shape": shape}
    if isinstance(shape, dict) and isinstance(config, dict) and "training" in config:
        config = {name: {**_NEW_IN_2.get(name, {}), **section} for name, section in config.items()}
        config["training"]["sequence_length"] = shape.get("context_length")
        header = {**header, "config": config}
    return values, header


_NEW_IN_2: Facts = {
    "model": {
        "head_dim": None, "vocab_size": None, "rope_scaling": None, "norm_epsilon": 1e-6, "qkv_bias": False,
        "pretrained": None,
    },
    "training": {
        "recompute": "auto",
        "lora": {
            "enabled": False, "rank": 16, "alpha": 32.0, "dropout": 0.0,
            "targets": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        },
    },
}  # fmt: skip
# MIGRATIONS[n - 1] turns the payload and header of format n into those of format n + 1. Each format that was released
# has a golden file in `tests/golden/`.
MIGRATIONS: tuple[Callable[[Facts, Facts], tuple[Facts, Facts]], ...] = (_from_format_1,)
FORMAT = 1 + len(MIGRATIONS)
_NUMBER = (int, float)
# The type of each optional key that nima reads; a dict stands for an object with all of these keys, a list for a list
# of such objects. Other keys are for people.
_KINDS: dict[str, Any] = {
    "config": dict,
    "step": int,
    "epoch": _NUMBER,
    "total_steps": int,
    "tokens": int,
    "evaluated_step": int,
    "best": {"value": (*_NUMBER, type(None)), "loss": (*_NUMBER, type(None)), "step": int, "waited": int},
    "open_window": {"loss_sum": _NUMBER, "seconds": _NUMBER, "tokens": int},
    "eval_window": {"loss_sum": _NUMBER, "tokens": int},
    "refused": {"in_a_row": int, "steps": int},
    "parts": int,
    "rollbacks": int,
    "inference_weights": str,
    "loss_scale": {"value": _NUMBER, "calm_steps": int},
    "train_seconds": _NUMBER,
    "elapsed_seconds": _NUMBER,
    "dtype": str,
    "threads": int,
    "compiled": str,
    "processes": int,
    "dataset_sha256": str,
    "tokenizer_sha256": str,
    "conversations": int,
    "lora": {"rank": int, "alpha": _NUMBER, "targets": [str]},
    "dataset": {
        "sources": [{"name": str, "format": str, "kept": int, "bytes": int, "weight": _NUMBER}],
        "splits": {name: {"documents": int, "tokens": int, "bytes": int} for name in ("train", "val", "test")},
    },
}
_MAY_BE_NULL = {"loss_scale", "compiled", "lora"}


def read_header(path: Path) -> Facts:
    """The header of a checkpoint, of which no tensor is read; raises the errors of `load`."""
    with open_archive(path) as archive:
        return with_header(path, archive.values)[1]


def step_of(path: Path) -> int | None:
    """The step of a checkpoint; None if there is no checkpoint that can be read."""
    try:
        return int(read_header(path)["step"])
    except (CheckpointError, ResourceError, KeyError):
        return None


def with_header(path: Path, values: Facts) -> tuple[Facts, Facts]:
    """The values of a checkpoint and its header, migrated to the newest format."""
    version = values.get("nima_format")
    if type(version) is not int:
        found = ", ".join(f"`{shown(key)}`" for key in list(values)[:3])
        raise CheckpointError(f"{path}: not a nima checkpoint: a torch file with {found or 'nothing'}")
    try:
        header = json.loads(values.get("header", ""))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged: its header is not JSON") from error
    if version > FORMAT:
        made_by = shown(header.get("nima_version", "?")) if isinstance(header, dict) else "?"
        raise CheckpointError(
            f"{path}: made by nima {made_by} in format {version}; this is nima {__version__}, format {FORMAT}",
            hint="pip install -U nima",
        )
    if version < 1 or not isinstance(header, dict):
        raise CheckpointError(f"{path}: damaged: format {version} never existed or its header is no object")
    wrong = [key for key, kind in _KINDS.items() if key in header and not _fits(header[key], kind, key)]
    if wrong:
        raise CheckpointError(f"{path}: damaged: its header has the wrong kind of `{wrong[0]}`")
    for migrate in MIGRATIONS[version - 1 :]:
        values, header = migrate(values, header)
    return values, header


def _fits(value: Any, kind: Any, key: str) -> bool:
    if value is None and key in _MAY_BE_NULL:
        return True
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(name in value and _fits(value[name], kind[name], name) for name in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_fits(one, kind[0], key) for one in value)
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    return not isinstance(value, int | float) or abs(value) < 2**63  # false for NaN, too
