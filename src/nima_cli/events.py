"""Events: all that the engine tells the outside, as plain numbers, texts and paths.

Losses are nats per token. Seconds are wall-clock: `train_seconds` counts optimizer steps only, `elapsed_seconds`
everything since the run began, over all resumes.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


def perplexity(loss: float) -> float:
    """exp(loss), or infinity where that overflows a double."""
    return math.exp(loss) if loss < 700 else math.inf


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A process begins to train; `sources` are (name, share of an epoch's tokens), `compiled` names the kernels."""

    run_dir: Path
    data: Path
    sources: tuple[tuple[str, float], ...]
    version: str
    config_json: str
    parameters: int
    train_tokens: int
    tokens_per_step: int
    total_steps: int
    first_step: int
    total_epochs: float
    device: str
    dtype: str
    seed: int
    compiled: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """Optimizer step `step` (the first is 1) is done; means and rates cover the steps since the last such event.

    `skipped_steps` counts the steps of the run whose update was not finite and was skipped.
    """

    step: int
    epoch: float
    tokens: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    train_seconds: float
    elapsed_seconds: float
    skipped_steps: int


@dataclass(frozen=True, slots=True)
class EvalDone:
    """A split was evaluated: `val`, or `val_ema` with the averaged weights.

    `accuracy` is the share of tokens predicted right; `train_loss` the mean since the last evaluation.
    """

    step: int
    split: str
    loss: float
    bits_per_byte: float
    accuracy: float
    tokens: int
    train_seconds: float
    elapsed_seconds: float
    best: bool
    train_loss: float


@dataclass(frozen=True, slots=True)
class SampleDrawn:
    """The model wrote `text` after `prompt` (not repeated in it)."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is complete on disk."""

    step: int
    path: Path
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know; `level` is `info` or `warning`."""

    level: str
    message: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The run went back to optimizer step `step`; events of later steps no longer hold."""

    step: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document was left out of a dataset.

    `where` is `file` or `file:line`, safe to print; `reason` the key of the count; `figures` are what was measured.
    """

    source: str
    where: str
    reason: str
    figures: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class InputsCounted:
    """Inputs of a dataset that were treated alike; these events come together, after everything was read.

    Attributes:
        outcome: `read` (files), `left_out` (files and folders), or `dropped` (documents).
        reason: the key of the count; empty for files that were read, `embedded` or `stdin` for documents without one.
        example: the largest, or the first; safe to print.
    """

    outcome: str
    reason: str
    suffix: str
    count: int
    bytes: int
    example: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A phase of preparation advanced; `total` is 0 while it is not known."""

    phase: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class DatasetReady:
    """A prepared dataset is complete on disk."""

    path: Path
    documents: int
    samples: int
    tokens: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model is complete on disk, the model card last in `files`.

    `verified` says what was compared after reading the files back, `unverified` what could not be checked and why,
    `notes` what else is to be known about the files.
    """

    path: Path
    files: tuple[Path, ...]
    bytes: int
    parameters: int
    verified: tuple[str, ...]
    unverified: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last event of a run; `reason` is completed, early_stopped, interrupted or diverged."""

    reason: str
    step: int
    best_loss: float
    best_step: int


Event = (
    RunStarted
    | StepDone
    | EvalDone
    | SampleDrawn
    | Saved
    | Note
    | RolledBack
    | Dropped
    | InputsCounted
    | Progress
    | DatasetReady
    | Exported
    | RunEnded
)


class EventHandler(Protocol):
    """Whatever shows or keeps events: the terminal, a file, a service."""

    def __call__(self, event: Event, /) -> None: ...

    def close(self) -> None:
        """Finish what is open; called once, also after a failure."""
        return
