"""Tiny runs of the real trainer, for tests of what training does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.device import Device
from nima_cli.engine.training.run_spec import make_run_spec
from nima_cli.engine.training.trainer import Trainer
from nima_cli.events import EvalDone, Event, StepDone

CPU = Device(torch.device("cpu"), torch.float32)

MODEL: dict[str, Any] = {
    "preset": None, "n_layers": 2, "d_model": 32, "n_heads": 2, "context_length": 32, "dropout": 0.1,
}  # fmt: skip
# 149 rows an epoch, 8 a step: the first epoch ends within step 19.
TRAINING: dict[str, Any] = {
    "epochs": 50, "max_steps": 24, "batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 0.01,
    "weight_decay": 0.1, "embedding_weight_decay": 0.05, "use_mixed_precision": False,
    "eval_steps": 5, "log_steps": 1, "save_steps": 8,
}  # fmt: skip


def make_config(*, model: dict[str, Any] | None = None, samples: bool = False, **training: Any) -> Config:
    """A config of a tiny run; keyword arguments are keys of `training`."""
    generation = {"enabled": samples, "prompts": ["The"], "max_length": 4}
    return Config.model_validate(
        {
            "model": {**MODEL, **(model or {})},
            "training": {"sequence_length": {**MODEL, **(model or {})}["context_length"], **TRAINING, **training},
            "evaluation": {"generation": generation},
        }
    )


def make_trainer(
    config: Config, dataset: Path | PreparedDataset, run_dir: Path, *, resume: str | None = None, **options: Any
) -> Trainer:
    """A trainer in `run_dir`; `resume` names a checkpoint file in it."""
    run_dir.mkdir(exist_ok=True)
    opened = open_dataset(dataset) if isinstance(dataset, Path) else dataset
    checkpoint = checkpoints.load(run_dir / resume) if resume is not None else None
    spec = make_run_spec(config, opened)
    return Trainer(spec, opened, run_dir, options.pop("device", CPU), resume=checkpoint, **options)


def stop_after(trainers: Sequence[Trainer], step: int) -> Callable[[], str | None]:
    """A wish to stop that comes up when the last of `trainers` has done `step`."""
    return lambda: "INT" if trainers and trainers[-1].step >= step else None


def run_until(
    config: Config, dataset: Path | PreparedDataset, run_dir: Path, step: int, *, resume: str | None = None
) -> list[Event]:
    """The events of a run that is asked to stop after `step`."""
    trainers: list[Trainer] = []
    trainers.append(make_trainer(config, dataset, run_dir, resume=resume, should_stop=stop_after(trainers, step)))
    return list(trainers[0].run())


def run_to_end(config: Config, dataset: Path, run_dir: Path, *, resume: str | None = None) -> list[Event]:
    """The events of a run to its end."""
    return list(make_trainer(config, dataset, run_dir, resume=resume).run())


def steps(events: Iterable[Event]) -> Iterator[StepDone]:
    """The step events."""
    return (event for event in events if isinstance(event, StepDone))


def evaluations(events: Iterable[Event]) -> Iterator[EvalDone]:
    """The evaluation events."""
    return (event for event in events if isinstance(event, EvalDone))


def losses(events: Sequence[Event]) -> dict[int, str]:
    """Step to loss and gradient norm, exactly."""
    return {event.step: f"{event.loss.hex()} {event.grad_norm.hex()}" for event in steps(events)}


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Model and optimizer tensors of a checkpoint, by name."""
    loaded = checkpoints.load(path)
    assert loaded.optimizer is not None
    state = {f"{name}/{key}": tensor for name, kept in loaded.optimizer.items() for key, tensor in kept.items()}
    return {**loaded.model, **state}


def same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether both hold the same names and exactly the same numbers."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
