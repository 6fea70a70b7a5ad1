"""One process's part of `nima train`, from paths to events: opens data, takes the run directory, resumes, trains."""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

from nima_cli.config.load import dump_yaml
from nima_cli.config.schema import Config
from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.files import LAST, checkpoint_files, find
from nima_cli.engine.checkpoint.header import step_of
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.device import Device, keep_freed_memory, pick_device
from nima_cli.engine.kernels.convert import compile_problems
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.trust import Trusted, trusted_kernels
from nima_cli.engine.machine_memory import available_memory
from nima_cli.engine.model.shape import resolve
from nima_cli.engine.training.distributed.launch import unused_settings
from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.engine.training.planning.costs import checkpoint_bytes
from nima_cli.engine.training.planning.defaults import complete
from nima_cli.engine.training.planning.fitting import check_fit, first_parts, fit, fit_notes, means_of
from nima_cli.engine.training.reports import resume_notes
from nima_cli.engine.training.resume.branching import adopt
from nima_cli.engine.training.resume.same_run import check_same_run
from nima_cli.engine.training.resume.superseded import set_aside_later
from nima_cli.engine.training.state import plan_run
from nima_cli.engine.training.stopping import Best, EarlyStopping
from nima_cli.engine.training.trainer import Trainer
from nima_cli.errors import CheckpointError, ConfigError, DataError, DeviceError, InputError
from nima_cli.events import Event, Note, Progress, RunEnded
from nima_cli.files import check_free_space, folder_lock, sweep_temporary, write_text


@dataclass(frozen=True, slots=True)
class Session:
    """What to run, in plain values that travel to another process.

    Attributes:
        config: the resolved configuration.
        data_dir: a prepared dataset.
        run_dir: where the run lives.
        resume: the checkpoint to go on from; of this run, or of another that this one branches off from.
        init_from: a checkpoint whose weights a new run starts with.
        allow_data_change: go on although the dataset is another one than before.
        compiled: where compiled programs are kept, on the machine that reads this; None trains without.
    """

    config: Config
    data_dir: Path
    run_dir: Path
    resume: Path | None = None
    init_from: Path | None = None
    allow_data_change: bool = False
    compiled: Path | None = None

    def to_json(self) -> str:
        """For another process, which may run on another machine."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
        return json.dumps({**plain, "config": self.config.model_dump(mode="json")})

    @classmethod
    def from_json(cls, text: str) -> "Session":
        """What `to_json` gave."""
        values = json.loads(text)
        for name in ("data_dir", "run_dir", "resume", "init_from", "compiled"):
            values[name] = Path(values[name]) if values[name] is not None else None
        return cls(**{**values, "config": Config.model_validate(values["config"])})


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session whose files have been read and found to fit each other."""

    session: Session
    dataset: PreparedDataset
    resume: Checkpoint | None
    init_from: Checkpoint | None

    @property
    def already_ended(self) -> RunEnded | None:
        """How the run ended, when the checkpoint to resume from leaves nothing to train; else None."""
        if self.resume is None or self._last_is_behind:
            return None
        header = self.resume.header
        step, best = int(header.get("step", 0)), Best.from_dict(header.get("best", {}))
        total = plan_run(self.session.config, self.dataset).total_steps
        evaluated = header.get("evaluated_step") == step  # else it was stopped before it could
        if step > total or (step == total and evaluated):
            return RunEnded("completed", step, best.loss, best.step)
        if EarlyStopping(self.session.config.training.early_stopping, best).out_of_patience:
            return RunEnded("early_stopped", step, best.loss, best.step)
        return None

    @property
    def _last_is_behind(self) -> bool:
        """Whether `checkpoint_last.pt` is older than what to go on from: killed between the best and the last."""
        assert self.session.resume is not None
        assert self.resume is not None
        if self.session.resume.name == LAST:
            return False
        last = step_of(self.session.run_dir / LAST)
        return last is not None and last < int(self.resume.header.get("step", 0))


def open_session(session: Session, *, check_data: bool = True) -> OpenSession:
    """Read the dataset and the checkpoints, and check that they belong together; writes nothing.

    Args:
        check_data: compare the dataset's files with their hashes; one process of each machine is enough.

    Raises:
        NimaError: something is missing, damaged or of another run; says which and what to do.
    """
    dataset = open_dataset(session.data_dir, check=check_data)
    session = replace(session, config=complete(session.config, dataset))
    resume = checkpoints.load(session.resume) if session.resume is not None else None
    if resume is not None:
        check_resumable(session, resume, dataset)
    init_from = _load_initial_weights(session, dataset) if session.init_from is not None else None
    return OpenSession(session, dataset, resume, init_from)


def train(
    opened: OpenSession,
    *,
    ranks: Ranks = SINGLE,
    should_stop: Callable[[], str | None] = lambda: None,
    should_save: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train; see `Trainer` for the arguments and `Trainer.run` for the events.

    Raises:
        NimaError: the machine does not allow it, or training diverged.
    """
    session, config = opened.session, opened.session.config
    device, trusted = _device(session, ranks)
    ranks = ranks.linked(device.device, config.hardware.backend)
    if device.device.type == "cpu":
        keep_freed_memory()
    with ranks.together():
        parts, fit_told = _fit(opened, device, trusted.kernels, ranks)
    notes: list[Note] = []
    with ExitStack() as held:
        with ranks.together():
            trainer = Trainer(
                config,
                opened.dataset,
                session.run_dir,
                device,
                resume=opened.resume,
                init_from=opened.init_from,
                ranks=ranks,
                parts=parts,
                kernels=trusted.kernels,
                should_stop=should_stop,
                should_save=should_save,
            )
            if ranks.is_first:
                check_room(session.run_dir, checkpoint_bytes(trainer.state.shape, config), config)
                held.enter_context(folder_lock(session.run_dir))
                notes = _take_over(session, trainer)
                write_text(session.run_dir / "config.yaml", dump_yaml(config))
        yield from notes
        yield from resume_notes(opened.resume, config, trainer.state, ranks.world_size)
        events = trainer.run()
        yield next(events)  # that it began is the first thing told of a new run
        yield from (*device.notes, *trusted.notes)
        yield from unused_settings(config.hardware, device.device, processes=ranks.world_size)
        yield from fit_told
        yield from _attended(events, ranks)


def _device(session: Session, ranks: Ranks) -> tuple[Device, Trusted]:
    """What this process computes with; the first of each machine compiles for it, and the others find the programs.

    Raises:
        DeviceError: it is absent, or cannot compute in the type that is named.
    """
    config, device, trusted = session.config, None, Trusted()
    for turn in (ranks.local_rank == 0, ranks.local_rank != 0):
        with ranks.together():
            if turn:
                index = gpu_index(config, ranks)
                device = pick_device(config.hardware.device, config.training.use_mixed_precision, index)
                trusted = trusted_kernels(device, config, session.compiled, linear_cross_entropy)
    assert device is not None, "one of the turns is this process's"
    return device, trusted


def _fit(opened: OpenSession, device: Device, kernels: Kernels | None, ranks: Ranks) -> tuple[int, list[Note]]:
    """The pieces to begin with, and what to tell of what the run needs; refuses one that certainly does not fit.

    Raises:
        ResourceError: it does not; says which settings do.
    """
    config = opened.session.config
    plan = plan_run(config, opened.dataset, world_size=ranks.world_size)
    available = available_memory(device.device, processes=ranks.local_world_size)
    if available is not None and device.device.type == "cpu":
        loaded = [checkpoint.nbytes() for checkpoint in (opened.resume, opened.init_from) if checkpoint is not None]
        available -= sum(loaded)  # they stay in memory
    shape = resolve(config.model, opened.dataset.tokenizer.vocab_size)
    found = fit(config, shape, means_of(device, kernels, processes=ranks.world_size), available)
    check_fit(found, config)
    return first_parts(found, config), list(fit_notes(found, config, plan, processes=ranks.world_size))


def _attended(events: Iterator[Event], ranks: Ranks) -> Iterator[Event]:
    """The same events, with what is known only after the first step: torch compiles its layers while that runs."""
    for event in events:
        yield event
        if isinstance(event, Progress) and event.phase == "training":
            ranks.settle()
            yield from compile_problems()
            break
    yield from events


def check_room(run_dir: Path, one: int, config: Config) -> None:
    """Room for the last checkpoints, the best and the one that is being written, besides those that are there.

    Args:
        one: bytes of one checkpoint.

    Raises:
        ResourceError: the disk has less.
    """
    there = sum(path.stat().st_size for path in checkpoint_files(run_dir))
    check_free_space(run_dir, max(one, (config.training.save_total_limit + 2) * one - there))


def _take_over(session: Session, trainer: Trainer) -> list[Note]:
    """Make the run directory, whose lock is held, fit for going on from where the trainer stands.

    Raises:
        InputError: a new run finds another one there, which has ended since this one looked.
        ResourceError: what is given up cannot be renamed.
    """
    for folder in (session.run_dir, session.run_dir / "plots"):
        sweep_temporary(folder)
    if session.resume is not None and not session.run_dir.samefile(session.resume.parent):
        adopt(session.run_dir, session.resume, best_step=trainer.state.stopping.best.step)
        return [Note("info", f"a new run, going on from {session.resume}, which stays as it is")]
    if session.resume is not None:
        return list(set_aside_later(session.run_dir, resumed=session.resume, step=trainer.step))
    if checkpoint_files(session.run_dir):
        raise InputError(f"{session.run_dir}: already holds a run", hint="go on with it with --resume auto")
    return []


def gpu_index(config: Config, ranks: Ranks) -> int:
    """Which GPU this process computes on, as `hardware.gpu_ids` has it.

    Raises:
        DeviceError: it names fewer than there are processes.
    """
    ids = config.hardware.gpu_ids
    if ids and ranks.local_rank >= len(ids):
        raise DeviceError(f"`hardware.gpu_ids` names {len(ids)} GPUs for {ranks.local_world_size} processes")
    return ids[ranks.local_rank] if ids else ranks.local_rank


def check_resumable(session: Session, checkpoint: Checkpoint, dataset: PreparedDataset) -> None:
    """The checkpoint belongs to this run: same settings, same data, and it has an optimizer.

    Raises:
        CheckpointError: it holds weights only.
        ConfigError: a setting that defines the run differs.
        DataError: the dataset differs.
    """
    if checkpoint.optimizer is None:
        raise CheckpointError(f"{session.resume}: has no optimizer state", hint="use --init-from to start from it")
    check_same_run(checkpoint.header.get("config", {}), session.config)
    saved = checkpoint.header.get("dataset_sha256")
    if saved != dataset.sha256 and not session.allow_data_change:
        raise DataError(
            f"{session.data_dir}: not this run's dataset: its hash is {dataset.sha256[:12]}, was {str(saved)[:12]}",
            hint="give the old dataset with --data, or pass --allow-data-change",
        )
    if checkpoint.header.get("tokenizer_sha256") != dataset.tokenizer.sha256:
        raise DataError(
            f"{session.data_dir}: its tokenizer is not the one that {session.resume} was trained with",
            hint="prepare the data with --tokenizer-from, or start a new run",
        )


def _load_initial_weights(session: Session, dataset: PreparedDataset) -> Checkpoint:
    assert session.init_from is not None
    path = find(session.init_from)
    checkpoint = checkpoints.load(path)
    if hashlib.sha256(checkpoint.tokenizer_proto).hexdigest() != dataset.tokenizer.sha256:
        raise DataError(
            f"{session.data_dir}: its tokenizer is not the one of {path}",
            hint=f"prepare the data again with `--tokenizer-from {shlex.quote(str(session.init_from))}`",
        )
    shape = resolve(session.config.model, dataset.tokenizer.vocab_size)
    if checkpoint.shape != shape:
        old, new = checkpoint.shape.to_dict(), shape.to_dict()
        changed = ", ".join(f"`{key}` {old[key]} and {new[key]}" for key in old if old[key] != new[key])
        raise ConfigError(
            f"{path}: its model differs from this run's: {changed}", hint="leave the shape out: it is the checkpoint's"
        )
    return checkpoint
