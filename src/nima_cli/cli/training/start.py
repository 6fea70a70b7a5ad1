"""What to train: finds the checkpoint to go on from, the settings, the data and the run directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.cli import rundir
from nima_cli.cli.datasets import data_dir, ensure_prepared, kept_dataset, with_sources
from nima_cli.cli.event_handlers import dispatch
from nima_cli.cli.home import compile_meanwhile, compiled
from nima_cli.cli.initial import (
    InitialModel,
    check_shape,
    check_tokenizer,
    foundation,
    read_initial,
    restore_tokenizer,
    with_tokenizer,
)
from nima_cli.cli.references import find_model
from nima_cli.errors import InputError
from nima_cli.ui.console import say

if TYPE_CHECKING:
    from nima_cli.config.load import Resolved
    from nima_cli.config.schema import Config
    from nima_cli.engine.checkpoint.file import Checkpoint
    from nima_cli.engine.training.session import OpenSession, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The command line of `nima train`; `overrides` are the settings with a flag of their own."""

    config: Path | None
    preset: str | None
    data: Path | None
    device: str | None
    output_dir: Path | None
    overrides: dict[str, Any]
    set_: list[str]
    resume: str | None
    init_from: str | None
    allow_data_change: bool
    quiet: bool
    verbose: bool
    json: bool

    @property
    def name(self) -> str | None:
        """The name of a run without `--output-dir`: that of its configuration or preset."""
        return self.config.stem if self.config is not None else self.preset


@dataclass(frozen=True, slots=True)
class Start:
    """A session, and the checkpoint to go on from, which was loaded to find it."""

    session: "Session"
    resume: "Checkpoint | None"

    def open(self, world_size: int = 1) -> "OpenSession":
        """Open it for so many processes; see `open_session`."""
        from nima_cli.engine.training.session import open_session

        return open_session(self.session, world_size=world_size, resume=self.resume)


def start_training(options: TrainOptions) -> Start:
    """Find settings, run directory and data of the run to train."""
    path, resume = find_resume(options)
    settings, initial = load_settings(options, resume)
    from nima_cli.engine.kernels.build import KERNELS
    from nima_cli.engine.training.session import Session  # loads torch, which a refusal need not wait for

    compile_meanwhile(KERNELS, settings.hardware.device)
    run_dir = _run_dir(options, settings, path)
    data = kept_dataset(settings, resume, path.parent) if resume is not None and path is not None else None
    if data is None:
        prepare_data(settings, initial, quiet=options.quiet)
        data = data_dir(settings.data)
    init_from = initial.ref.path if initial is not None else None
    session = Session(settings, data, run_dir, path, init_from, options.allow_data_change, compiled())
    return Start(session, resume)


def find_resume(options: TrainOptions, *, tensors: bool = True) -> "tuple[Path | None, Checkpoint | None]":
    """Find and load the checkpoint to go on from; nothing for a new run. See `load` for `tensors`."""
    if options.resume is None:
        return None, None
    from nima_cli.engine.checkpoint import file as checkpoints

    auto, named = options.resume == "auto", Path(options.resume)
    if not auto and not named.is_dir():
        return named, checkpoints.load(named, tensors=tensors)
    run_dir = rundir.find_run_dir(options.output_dir, options.name) if auto else named
    if run_dir is None or (auto and not rundir.holds_checkpoint(run_dir)):
        if options.output_dir is None and options.name is None:
            raise InputError("--resume auto: there is no run under `experiments/`", hint="start one without --resume")
        say("nothing to resume yet: starting a new run")
        return None, None
    path, checkpoint, problems = checkpoints.newest_valid(run_dir, tensors=tensors)
    for problem in problems:
        say(f"{problem}; going on from {path.name}", "warning")
    return path, checkpoint


def load_settings(options: TrainOptions, resume: "Checkpoint | None") -> "tuple[Config, InitialModel | None]":
    """The user's settings over those of `resume`, or of what `--init-from` names, which is returned with them."""
    from nima_cli.config.load import load_config

    initial, base = None, resume.header.get("config") if resume is not None else None
    if resume is None and options.init_from is not None:
        initial = read_initial(find_model(options.init_from, quiet=options.quiet))
        base = foundation(initial)
    resolved = load_config(
        options.config, overrides=options.overrides, set_=options.set_, preset=options.preset, base=base
    )
    if initial is not None:
        check_shape(resolved.config, initial)
    settings = with_sources(resolved.config)
    if settings is not resolved.config and not options.quiet:
        _say_what_is_learnt()
    if initial is not None:
        settings = with_tokenizer(settings, initial.tokenizer_proto)
    elif resume is not None:
        restore_tokenizer(settings, resume)
    if options.verbose:
        _show_sources(resolved)
    return settings, initial


def prepare_data(settings: "Config", initial: InitialModel | None, *, quiet: bool) -> None:
    """Make the dataset when its sources changed; refuse one whose tokenizer is not the initial model's."""
    from nima_cli.engine.cores import cpu_count
    from nima_cli.loggers import Guarded
    from nima_cli.ui.progress_view import prepare_view

    view = Guarded(prepare_view(quiet=quiet), "the display", say)
    dispatch(ensure_prepared(settings.data, workers=cpu_count()), [view])
    if initial is not None:
        check_tokenizer(data_dir(settings.data), initial)


def _run_dir(options: TrainOptions, settings: "Config", resume: Path | None) -> Path:
    """The directory of the checkpoint to go on from, unless `--output-dir` branches off a new run."""
    output_dir = options.output_dir
    if resume is not None and (output_dir is None or output_dir.resolve() == resume.parent.resolve()):
        return resume.parent
    name = options.name or settings.model.preset or _plain_name(settings.model.pretrained) or "gpt-custom"
    return rundir.new_run_dir(output_dir, name, again=options.resume == "auto")


def _plain_name(pretrained: str | None) -> str | None:
    """The name of a pretrained model as that of a run directory: `hf:OWNER/NAME` without its owner."""
    from nima_cli.config.schema import safe_name

    name = (pretrained or "").rsplit("/", 1)[-1]
    return name if safe_name(name) else None


def _say_what_is_learnt() -> None:
    say("no data was named: learning the documentation that came with this Python")
    say(
        "for documents of your own: `nima data prepare --output-dir data/mine --text-files FOLDER`, then "
        "`nima train --data data/mine`",
        "hint",
    )


def _show_sources(resolved: "Resolved") -> None:
    """Where each setting comes from, on stderr."""
    from nima_cli.engine.training.resume.same_run import flatten

    values = flatten(resolved.config.model_dump(mode="json"))
    for key, source in resolved.origins.items():
        if source != "default":
            say(f"{key} = {values.get(key)}  ({source})")
