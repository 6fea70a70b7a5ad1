"""The settings of a run, made once before it starts: complete configuration, model shape, plan of the steps."""

import math
from dataclasses import dataclass, replace

from nima_cli.config.schema import Config, TrainingConfig
from nima_cli.engine.data.store.dataset import PreparedDataset
from nima_cli.engine.model.shape import ModelShape, resolve
from nima_cli.engine.training.planning.defaults import resolve_defaults
from nima_cli.engine.training.schedule import Schedule
from nima_cli.errors import ConfigError

_DEFAULT_WARMUP = 100
_WARMUP_SHARE = {"muon": 50, "adamw": 10}  # one step of so many; Muon's first updates have the size of its later ones
_DEFAULT_EVAL_STEPS = 500


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Every number that the loop needs; a sequence has one context length, a batch is that of all processes."""

    batch_size: int
    sequences_per_step: int
    sequences_per_epoch: int
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
        return self.sequences_per_step // self.batch_size

    @property
    def tokens_per_step(self) -> int:
        """Tokens that an optimizer step learns from."""
        return self.sequences_per_step * self.context_length

    @property
    def total_epochs(self) -> float:
        """Passes over the train split that the run makes."""
        return self.epoch(self.total_steps)

    def epoch(self, step: int) -> float:
        """Passes over the train split after `step` optimizer steps."""
        return step * self.sequences_per_step / self.sequences_per_epoch


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What a run is; its `config` leaves nothing open."""

    config: Config
    shape: ModelShape
    plan: RunPlan

    @property
    def sequence_shape(self) -> ModelShape:
        """The shape as far as training uses it: with the length of its sequences as context."""
        return replace(self.shape, context_length=self.plan.context_length)


def make_run_spec(
    config: Config, dataset: PreparedDataset | None, world_size: int = 1, *, vocab_size: int = 0
) -> RunSpec:
    """Choose what the config leaves open and lay out the run; a complete config stays as it is.

    Args:
        dataset: None while it is not prepared: `vocab_size` then stands for it, and the plan covers a single step.
        world_size: processes that share each batch.

    Raises:
        ConfigError: the batch cannot be shared out, or sizes of the model are missing.
    """
    shape = resolve(config.model, dataset.tokenizer.vocab_size if dataset is not None else vocab_size)
    split = dataset.split("train") if dataset is not None else None
    config = resolve_defaults(config, shape, train_tokens=split.tokens if split is not None else 0)
    length = config.training.sequence_length
    assert length is not None
    sequences = split.sequences_per_epoch(length) if split is not None else 1
    return RunSpec(config, shape, make_plan(config.training, length, sequences, world_size))


def make_plan(training: TrainingConfig, context_length: int, sequences_per_epoch: int, world_size: int = 1) -> RunPlan:
    """Lay out a run whose settings are complete; processes share each batch evenly, or it is a ConfigError."""
    assert training.batch_size is not None
    assert training.epochs is not None
    assert training.learning_rate is not None
    if training.batch_size % world_size:
        raise ConfigError(
            f"`training.batch_size` {training.batch_size} cannot be shared by {world_size} processes",
            hint=f"use a multiple of {world_size}",
        )
    sequences_per_step = training.batch_size * training.gradient_accumulation_steps
    total_steps = max(1, math.ceil(round(training.epochs * sequences_per_epoch, 6) / sequences_per_step))
    total_steps = min(total_steps, training.max_steps or total_steps)
    warmup_steps, notes = _warmup(training, total_steps)
    eval_steps = training.eval_steps or min(_DEFAULT_EVAL_STEPS, max(1, math.ceil(total_steps / 10)))
    return RunPlan(
        batch_size=training.batch_size,
        sequences_per_step=sequences_per_step,
        sequences_per_epoch=sequences_per_epoch,
        context_length=context_length,
        total_steps=total_steps,
        eval_steps=eval_steps,
        save_steps=training.save_steps or eval_steps,
        log_steps=training.log_steps,
        schedule=Schedule(training.lr_scheduler, training.learning_rate, training.min_lr, warmup_steps, total_steps),
        notes=notes,
    )


def _warmup(training: TrainingConfig, total_steps: int) -> tuple[int, tuple[str, ...]]:
    """The warm-up to use; one longer than half the run is cut to a tenth."""
    wanted, tenth = training.warmup_steps, total_steps // 10
    if wanted is None:
        return min(_DEFAULT_WARMUP, tenth, math.ceil(total_steps / _WARMUP_SHARE[training.optimizer])), ()
    if wanted * 2 > total_steps:
        note = f"`training.warmup_steps` {wanted} reaches past half of the {total_steps} steps; shortened to {tenth}"
        return tenth, (note,)
    return wanted, ()
