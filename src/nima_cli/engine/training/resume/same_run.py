"""What may change between the parts of one run, and what may not because the loss curve depends on it."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.training.reports import COMPILED
from nima_cli.engine.training.state import RunState
from nima_cli.errors import ConfigError
from nima_cli.events import Note

# Dotted prefixes. A key that matches neither list is a mistake, which a test finds.
FROZEN = (
    "model.",
    "training.batch_size", "training.gradient_accumulation_steps", "training.seed", "training.use_mixed_precision",
    "training.learning_rate", "training.warmup_steps", "training.lr_scheduler", "training.min_lr",
    "training.optimizer", "training.weight_decay", "training.embedding_weight_decay", "training.max_grad_norm",
    "training.ema_decay", "training.sequence_length", "training.lora.",
)  # fmt: skip
MUTABLE = (
    "training.epochs", "training.max_steps", "training.early_stopping.", "training.max_rollbacks",
    "training.eval_steps", "training.log_steps", "training.save_steps", "training.save_total_limit",
    "training.auto_batch", "training.recompute",
    "data.",  # what was made of it is compared by its hash
    "evaluation.", "monitoring.", "hardware.",
)  # fmt: skip


def check_same_run(saved: Mapping[str, Any], wanted: Config) -> None:
    """Refuse to resume when a frozen key has changed from that in the checkpoint.

    Raises:
        ConfigError: names each key with its old and new value.
    """
    if changed := [change for key, change in _changes(saved, wanted) if key.startswith(FROZEN)]:
        raise ConfigError(
            f"this run cannot go on with other settings: {'; '.join(changed)}",
            hint="leave them as they were, or start a new run (with `init_from=` for the weights)",
        )


def mutable_changes(saved: Mapping[str, Any], wanted: Config) -> list[str]:
    """Permitted changes of keys that both configs have, with both values; data is compared by its hash instead."""
    known = flatten(saved).keys() & flatten(wanted.model_dump(mode="json")).keys()
    allowed = {key for key in known if key.startswith(MUTABLE) and not key.startswith("data.")}
    return [change for key, change in _changes(saved, wanted) if key in allowed]


def _changes(saved: Mapping[str, Any], wanted: Config) -> list[tuple[str, str]]:
    old, new = flatten(saved), flatten(wanted.model_dump(mode="json"))
    return [
        (key, f"`{key}` was {_show(old.get(key))}, is now {_show(new.get(key))}")
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def resume_notes(header: Mapping[str, Any], state: RunState) -> Iterator[Note]:
    """Tell what has changed since the checkpoint with this header was written."""
    yield Note("info", f"resuming from step {header.get('step')}")
    for change in mutable_changes(header.get("config", {}), state.config):
        yield Note("info", change)
    dtype, threads, compiled = header.get("dtype"), header.get("threads"), header.get("compiled")
    if dtype != state.device.dtype_name:
        yield Note("warning", f"computing in {state.device.dtype_name} instead of {dtype}: losses will not be the same")
    rounding = "sums may round differently"
    if state.device.device.type == "cpu" and threads != torch.get_num_threads():
        yield Note("warning", f"{torch.get_num_threads()} threads instead of {threads}: {rounding}")
    if compiled != state.compiled:
        then = COMPILED.get(compiled, "programs of another version")
        yield Note("warning", f"computing with {COMPILED[state.compiled]} instead of {then}: {rounding}")
    processes, before = state.ranks.world_size, header.get("processes", 1)
    if processes != before:
        yield Note("warning", f"{processes} processes instead of {before}: the same rows; {rounding}")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections to dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _show(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value).lower()
