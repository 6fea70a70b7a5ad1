"""What may change between the parts of one run, and what may not.

Frozen is what the loss curve depends on. How often to log, where to compute and how long to go on may change.
"""

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
    "training.batch_size",
    "training.gradient_accumulation_steps",
    "training.learning_rate",
    "training.warmup_steps",
    "training.lr_scheduler",
    "training.min_lr",
    "training.optimizer",
    "training.weight_decay",
    "training.embedding_weight_decay",
    "training.max_grad_norm",
    "training.ema_decay",
    "training.use_mixed_precision",
    "training.seed",
)
MUTABLE = (
    "training.epochs",
    "training.max_steps",
    "training.eval_steps",
    "training.log_steps",
    "training.save_steps",
    "training.save_total_limit",
    "training.auto_batch",
    "training.max_rollbacks",
    "training.early_stopping.",
    "data.",  # what was made of it is compared by its hash
    "evaluation.",
    "monitoring.",
    "hardware.",
)


def check_same_run(saved: Mapping[str, Any], wanted: Config) -> None:
    """Refuse to resume when a key that defines the run has changed.

    Args:
        saved: the config in the checkpoint, as plain values.

    Raises:
        ConfigError: names each key with its old and new value.
    """
    old, new = flatten(saved), flatten(wanted.model_dump(mode="json"))
    changed = [
        f"`{key}` was {_show(old.get(key))}, is now {_show(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if key.startswith(FROZEN) and old.get(key) != new.get(key)
    ]
    if changed:
        raise ConfigError(
            f"this run cannot go on with other settings: {'; '.join(changed)}",
            hint="leave them as they were, or start a new run (with `init_from=` for the weights)",
        )


def mutable_changes(saved: Mapping[str, Any], wanted: Config) -> list[str]:
    """The allowed changes: each key with its old and new value, without those of data, whose hash counts."""
    old, new = flatten(saved), flatten(wanted.model_dump(mode="json"))
    return [
        f"`{key}` was {_show(old[key])}, is now {_show(new[key])}"
        for key in sorted(old.keys() & new.keys())
        if key.startswith(MUTABLE) and not key.startswith("data.") and old[key] != new[key]
    ]


def resume_notes(header: Mapping[str, Any], state: RunState) -> Iterator[Note]:
    """What has changed since the checkpoint with this header was written."""
    yield Note("info", f"resuming from step {header.get('step')}")
    for change in mutable_changes(header.get("config", {}), state.config):
        yield Note("info", change)
    dtype, threads, compiled = header.get("dtype"), header.get("threads"), header.get("compiled")
    if dtype != state.device.dtype_name:
        yield Note("warning", f"computing in {state.device.dtype_name} instead of {dtype}: losses will not be the same")
    changed = []
    if state.device.device.type == "cpu" and threads != torch.get_num_threads():
        changed.append(f"{torch.get_num_threads()} threads instead of {threads}:")
    if compiled != state.compiled:
        then = COMPILED.get(compiled, "programs of another version")
        changed.append(f"computing with {COMPILED[state.compiled]} instead of {then}:")
    processes, before = state.ranks.world_size, header.get("processes", 1)
    if processes != before:
        changed.append(f"{processes} processes instead of {before}: the same rows;")
    yield from (Note("warning", f"{what} sums may round differently") for what in changed)


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
