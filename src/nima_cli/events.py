"""What happened, as plain numbers: all that the engine tells the outside.

Every event is a frozen dataclass of int, float, str, bool and Path. No tensor and no drawing object crosses it.
Losses are nats per token. Seconds are wall-clock: `train_seconds` counts optimizer steps only, `elapsed_seconds`
everything since the run began, over all resumes.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


def perplexity(loss: float) -> float:
    """exp(loss), or infinity where that would overflow a double."""
    return math.exp(loss) if loss < 700 else math.inf


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Once, before the first step of a process.

    Attributes:
        data: the folder of the dataset.
        sources: each source of it by name, and its share of the tokens of an epoch.
        compiled: whose programs compute it, such as `torch alone`.
    """

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
    """After optimizer step `step` (the first is 1); means and rates cover the steps since the last such event.

    `skipped_steps` counts the steps of the run whose update was refused because it was not finite.
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
    """A split was evaluated; `accuracy` is the share of tokens whose most likely prediction was right.

    `split` is `val`, or `val_ema` for the averaged weights; `train_loss` is the mean over the steps since the
    evaluation before.
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
    """The run went back to optimizer step `step`; what was told of later steps no longer holds."""

    step: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something read was left out of a dataset.

    Attributes:
        where: `file` or `file:line`, safe to print.
        reason: the key under which the drop is counted.
        figures: what the decision rests on, such as `characters 12.0`.
    """

    source: str
    where: str
    reason: str
    figures: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class InputsCounted:
    """Inputs of a dataset that were treated alike; all such events come together, when all is read.

    Attributes:
        outcome: `read` (files), `left_out` (files and folders that a walk met), or `dropped` (documents).
        reason: the key under which they were left out or dropped; empty for files that were read, `embedded` or `stdin`
            for documents that are in none.
        suffix: of files; empty where they have none or it does not matter.
        bytes: of the files, as far as known.
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
    """A model in somebody else's format is complete on disk.

    Attributes:
        path: the file or folder.
        files: all that was written, the model card last.
        bytes: of all files together.
        verified: what was compared after reading the files back, one clause each.
        unverified: what nobody here could check, and why.
    """

    path: Path
    files: tuple[Path, ...]
    bytes: int
    parameters: int
    verified: tuple[str, ...]
    unverified: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Once, last. `reason` is completed, early_stopped, interrupted or diverged."""

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
    """Whatever takes events: a view on the terminal, or a logger to a file or a service."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""

    def close(self) -> None:
        """Finish what is open; called once, also after a failure. By default nothing is."""
        return
