"""What a run will do, computed before it starts: steps, warm-up, cadence; a pure function of config and data size."""

import math
from dataclasses import dataclass

from nima_cli.config.schema import TrainingConfig
from nima_cli.engine.training.schedule import Schedule
from nima_cli.errors import ConfigError

_DEFAULT_WARMUP = 100
_WARMUP_SHARE = {"muon": 50, "adamw": 10}  # one step of so many; Muon's first updates have the size of its later ones
_DEFAULT_EVAL_STEPS = 500


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Every number that the loop needs.

    Attributes:
        batch_size: rows of one context length in a forward pass, over all processes.
        rows_per_step: the same in an optimizer step, over all its forward passes.
        rows_per_epoch: rows that cover the train split once.
        total_steps: optimizer steps of the whole run.
        notes: what the user should hear about before it starts.
    """

    batch_size: int
    rows_per_step: int
    rows_per_epoch: int
    context_length: int
    total_steps: int
    eval_steps: int
    save_steps: int
    log_steps: int
    schedule: Schedule
    notes: tuple[str, ...]

    @property
    def accumulation(self) -> int:
        """Forward passes in an optimizer step."""
        return self.rows_per_step // self.batch_size

    @property
    def tokens_per_step(self) -> int:
        """Tokens that an optimizer step learns from."""
        return self.rows_per_step * self.context_length

    @property
    def total_epochs(self) -> float:
        """Passes over the train split that the run makes."""
        return self.epoch(self.total_steps)

    def epoch(self, step: int) -> float:
        """Passes over the train split after `step` optimizer steps."""
        return step * self.rows_per_step / self.rows_per_epoch


def make_plan(training: TrainingConfig, *, context_length: int, rows_per_epoch: int, world_size: int = 1) -> RunPlan:
    """Lay out a run.

    The recipe has filled in what the config left open.

    `batch_size * gradient_accumulation_steps` is the batch of the whole run: with several processes each takes a share.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """
    batch_size = training.batch_size
    assert batch_size is not None
    if batch_size % world_size:
        raise ConfigError(
            f"`training.batch_size` {batch_size} cannot be shared by {world_size} processes",
            hint=f"use a multiple of {world_size}",
        )
    assert training.epochs is not None
    assert training.learning_rate is not None
    rows_per_step = batch_size * training.gradient_accumulation_steps
    total_steps = max(1, math.ceil(round(training.epochs * rows_per_epoch, 6) / rows_per_step))
    if training.max_steps is not None:
        total_steps = min(total_steps, training.max_steps)
    warmup_steps, notes = _warmup(training, total_steps)
    eval_steps = training.eval_steps or min(_DEFAULT_EVAL_STEPS, max(1, math.ceil(total_steps / 10)))
    return RunPlan(
        batch_size=batch_size,
        rows_per_step=rows_per_step,
        rows_per_epoch=rows_per_epoch,
        context_length=context_length,
        total_steps=total_steps,
        eval_steps=eval_steps,
        save_steps=training.save_steps or eval_steps,
        log_steps=training.log_steps,
        schedule=Schedule(
            kind=training.lr_scheduler,
            peak=training.learning_rate,
            minimum=training.min_lr,
            warmup_steps=warmup_steps,
            total_steps=total_steps,
        ),
        notes=notes,
    )


def _warmup(training: TrainingConfig, total_steps: int) -> tuple[int, tuple[str, ...]]:
    """The warm-up that fits: one past half of the run would leave little to train with, so it becomes a tenth."""
    wanted, tenth = training.warmup_steps, total_steps // 10
    if wanted is None:
        return min(_DEFAULT_WARMUP, tenth, math.ceil(total_steps / _WARMUP_SHARE[training.optimizer])), ()
    if wanted * 2 > total_steps:
        note = f"`training.warmup_steps` {wanted} reaches past half of the {total_steps} steps; shortened to {tenth}"
        return tenth, (note,)
    return wanted, ()
