"""One process's part of a run, from paths to events: opens data, takes the run directory, resumes, trains."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

from nima_cli.config.load import dump_yaml
from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.files import LAST, checkpoint_files
from nima_cli.engine.checkpoint.header import step_of
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.device import Device, keep_freed_memory, pick_device
from nima_cli.engine.kernels.convert import compile_problems
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.trust import Trusted, trusted_kernels
from nima_cli.engine.machine_memory import available_memory
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.pretrained.model_file import read_model
from nima_cli.engine.training.distributed.launch import unused_settings
from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.engine.training.planning.costs import checkpoint_bytes
from nima_cli.engine.training.planning.fitting import (
    Fit,
    check_fit,
    check_fit_unread,
    first_micro_batches,
    fit,
    fit_notes,
    means_of,
)
from nima_cli.engine.training.resume.same_run import check_same_run, resume_notes
from nima_cli.engine.training.resume.saver import adopt, supersede_later_checkpoints
from nima_cli.engine.training.run_spec import RunSpec, make_run_spec
from nima_cli.engine.training.stopping import Best, EarlyStopping
from nima_cli.engine.training.trainer import Trainer
from nima_cli.errors import CheckpointError, ConfigError, DataError, DeviceError, InputError
from nima_cli.events import Event, Note, Progress, RunEnded
from nima_cli.files import check_free_space, folder_lock, sweep_temporary, write_text


@dataclass(frozen=True, slots=True)
class Session:
    """What to run, in plain values that travel to another process.

    Attributes:
        resume: the checkpoint to go on from, of this run or of one that it branches off from.
        init_from: a checkpoint, or a model that others trained, whose weights a new run starts with.
        allow_data_change: resume with another dataset.
        compiled: the folder of compiled programs; None trains without.
    """

    config: Config
    data_dir: Path
    run_dir: Path
    resume: Path | None = None
    init_from: Path | None = None
    allow_data_change: bool = False
    compiled: Path | None = None

    def to_json(self) -> str:
        """Text for another process, maybe on another machine."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({**values, "config": self.config.model_dump(mode="json")}, default=str)

    @classmethod
    def from_json(cls, text: str) -> "Session":
        """Read what `to_json` gave."""
        values = json.loads(text)
        for name in ("data_dir", "run_dir", "resume", "init_from", "compiled"):
            values[name] = Path(values[name]) if values[name] is not None else None
        return cls(**{**values, "config": Config.model_validate(values["config"])})


@dataclass(slots=True)
class OpenSession:
    """A session whose files have been read and found consistent; `train` takes the checkpoints out of it."""

    session: Session
    spec: RunSpec
    dataset: PreparedDataset
    resume: Checkpoint | None
    init_from: Checkpoint | None

    @property
    def already_ended(self) -> RunEnded | None:
        """How the run ended, when the checkpoint to resume from leaves nothing to train; else None."""
        if self.resume is None or self.session.resume is None:
            return None
        header = self.resume.header
        step, best = int(header.get("step", 0)), Best.from_dict(header.get("best", {}))
        if self.session.resume.name != LAST:
            last = step_of(self.session.run_dir / LAST)
            if last is not None and last < step:  # killed between saving the best and the last
                return None
        total = self.spec.plan.total_steps
        evaluated = header.get("evaluated_step") == step  # else it was stopped before it could
        if step > total or (step == total and evaluated):
            return RunEnded("completed", step, best.loss, best.step)
        if EarlyStopping(self.spec.config.training.early_stopping, best).out_of_patience:
            return RunEnded("early_stopped", step, best.loss, best.step)
        return None


def open_session(
    session: Session, *, world_size: int = 1, check_data: bool = True, resume: Checkpoint | None = None
) -> OpenSession:
    """Read the dataset and the checkpoints, and check that they belong together; writes nothing.

    Args:
        check_data: compare the dataset's files with their hashes; one process of each machine is enough.
        resume: the session's checkpoint, where it has been loaded already.

    Raises:
        NimaError: something is missing, damaged or of another run.
    """
    dataset = open_dataset(session.data_dir, check=check_data)
    spec = make_run_spec(session.config, dataset, world_size)
    init_from = None
    if spec.config.training.lora.enabled and session.resume is None and session.init_from is None:
        raise ConfigError("`training.lora`: adapters need a model to adapt", hint="name one with `init_from=`")
    if session.resume is not None:
        resume = resume or checkpoints.load(session.resume)
        _check_resumable(session, spec.config, resume, dataset)
    if session.init_from is not None:
        hardware, precision = session.config.hardware, session.config.training.use_mixed_precision
        check_fit_unread(spec.config, spec.sequence_shape, pick_device(hardware.device, precision))
        init_from = read_model(session.init_from)
        _check_initial_weights(session, spec.shape, init_from, dataset)
    return OpenSession(session, spec, dataset, resume, init_from)


def train(
    opened: OpenSession,
    *,
    ranks: Ranks = SINGLE,
    should_stop: Callable[[], str | None] = lambda: None,
    should_save: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train, once; see `Trainer` for the arguments and `Trainer.run` for the events.

    Raises:
        NimaError: the machine does not allow it, or training diverged.
    """
    session, spec, config = opened.session, opened.spec, opened.spec.config
    device, trusted = training_device(session.config, ranks, session.compiled)
    ranks = ranks.linked(device.device, config.hardware.backend)
    if device.device.type == "cpu":
        keep_freed_memory()
    with ranks.raise_together():
        found, fit_told = _fit(opened, device, trusted.kernels, ranks)
    notes: list[Note] = []
    with ExitStack() as held:
        with ranks.raise_together():
            trainer = Trainer(
                spec,
                opened.dataset,
                session.run_dir,
                device,
                resume=opened.resume,
                init_from=opened.init_from,
                ranks=ranks,
                micro_batches=first_micro_batches(found, config),
                recompute=found.recompute,
                kernels=trusted.kernels,
                should_stop=should_stop,
                should_save=should_save,
            )
            if opened.resume is not None:
                notes += resume_notes(opened.resume.header, trainer.state)
            opened.resume = opened.init_from = None  # the trainer has copied what it needs
            if ranks.is_first:
                check_room(session.run_dir, checkpoint_bytes(spec.shape, config), config)
                held.enter_context(folder_lock(session.run_dir))
                held.callback(sweep_temporary, session.run_dir)  # what the system would not remove while it ran
                notes = [*_take_over(session, trainer), *notes]
                write_text(session.run_dir / "config.yaml", dump_yaml(config))
        yield from notes
        events = trainer.run()
        yield next(events)  # that it began is the first thing told of a new run
        yield from (*device.notes, *trusted.notes)
        yield from unused_settings(config.hardware, device.device, processes=ranks.world_size)
        yield from fit_told
        for event in events:
            yield event
            if isinstance(event, Progress) and event.phase == "training":
                ranks.settle()
                yield from compile_problems()  # torch compiles its layers during the first step
                break
        yield from events


def training_device(config: Config, ranks: Ranks, compiled: Path | None) -> tuple[Device, Trusted]:
    """The device of this process, and kernels where they are wanted and can be trusted.

    The first process of each machine compiles them, then the others find the programs.
    """
    found, ids = None, config.hardware.gpu_ids
    for turn in (ranks.local_rank == 0, ranks.local_rank != 0):
        with ranks.raise_together():
            if turn:
                if ids and ranks.local_rank >= len(ids):
                    raise DeviceError(
                        f"`hardware.gpu_ids` names {len(ids)} GPUs for {ranks.local_world_size} processes"
                    )
                index = ids[ranks.local_rank] if ids else ranks.local_rank
                device = pick_device(config.hardware.device, config.training.use_mixed_precision, index)
                found = device, trusted_kernels(device, config, compiled, linear_cross_entropy)
    assert found is not None, "one of the turns is this process's"
    return found


def _fit(opened: OpenSession, device: Device, kernels: Kernels | None, ranks: Ranks) -> tuple[Fit, list[Note]]:
    """How the run fits into memory and notes on that; refuses one that cannot."""
    spec, config = opened.spec, opened.spec.config
    available = available_memory(device.device, processes=ranks.local_world_size)
    if available is not None and device.device.type == "cpu" and opened.init_from and config.training.max_rollbacks:
        available -= opened.init_from.nbytes()  # stays loaded, to begin again with
    found = fit(config, spec.sequence_shape, means_of(device, kernels, processes=ranks.world_size), available)
    check_fit(found, config)
    return found, list(fit_notes(found, config, spec.plan, processes=ranks.world_size))


def check_room(run_dir: Path, one: int, config: Config) -> None:
    """Refuse a disk without room for the checkpoints to keep and one more, of `one` bytes each."""
    there = sum(path.stat().st_size for path in checkpoint_files(run_dir))
    check_free_space(run_dir, max(one, (config.training.save_total_limit + 2) * one - there))


def _take_over(session: Session, trainer: Trainer) -> list[Note]:
    """Prepare the locked run directory for the trainer."""
    for folder in (session.run_dir, session.run_dir / "plots"):
        sweep_temporary(folder)
    if session.resume is not None and not session.run_dir.samefile(session.resume.parent):
        adopt(session.run_dir, session.resume, best_step=trainer.state.stopping.best.step)
        return [Note("info", f"a new run, going on from {session.resume}, which stays as it is")]
    if session.resume is not None:
        return supersede_later_checkpoints(session.run_dir, resumed=session.resume, step=trainer.step)
    if checkpoint_files(session.run_dir):  # of a run that has ended since this one looked
        raise InputError(f"{session.run_dir}: already holds a run", hint="go on with it with `resume=auto`")
    return []


def _check_resumable(session: Session, config: Config, checkpoint: Checkpoint, dataset: PreparedDataset) -> None:
    """Refuse a checkpoint made with other settings or data, or without optimizer state."""
    if checkpoint.optimizer is None:
        raise CheckpointError(f"{session.resume}: has no optimizer state", hint="use `init_from=` to start from it")
    check_same_run(checkpoint.header.get("config", {}), config)
    saved = checkpoint.header.get("dataset_sha256")
    if saved != dataset.sha256 and not session.allow_data_change:
        raise DataError(
            f"{session.data_dir}: not this run's dataset: its hash is {dataset.sha256[:12]}, was {str(saved)[:12]}",
            hint="give the old dataset with `data=`, or pass `allow_data_change=True`",
        )
    if checkpoint.header.get("tokenizer_sha256") != dataset.tokenizer.sha256:
        raise DataError(
            f"{session.data_dir}: its tokenizer is not the one that {session.resume} was trained with",
            hint="prepare the data with `tokenizer_from=`, or start a new run",
        )


def _check_initial_weights(
    session: Session, shape: ModelShape, checkpoint: Checkpoint, dataset: PreparedDataset
) -> None:
    assert session.init_from is not None
    path = session.init_from
    if hashlib.sha256(checkpoint.tokenizer_proto).hexdigest() != dataset.tokenizer.sha256:
        raise DataError(
            f"{session.data_dir}: its tokenizer is not the one of {path}",
            hint=f"prepare the data again with `tokenizer_from={path}`",
        )
    check_initial_shape(str(path), checkpoint.shape, shape)


def check_initial_shape(model: str, its: ModelShape, runs: ModelShape) -> None:
    """Refuse to start from a model of another shape than the run's; `model` is what it is called."""
    if its != runs:
        old, new = its.to_dict(), runs.to_dict()
        changed = ", ".join(f"`{key}` {old[key]} and {new[key]}" for key in old if old[key] != new[key])
        raise ConfigError(
            f"{model}: its model differs from this run's: {changed}",
            hint="leave the shape out, and `model.preset`: it is the model's own",
        )
