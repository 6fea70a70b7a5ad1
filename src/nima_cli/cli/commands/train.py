"""`nima train`: turns the command line into a session, shows its events, and ends with the right exit code."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nima_cli.cli import initial, rundir, stop
from nima_cli.cli.commands import processes
from nima_cli.cli.compiled import compile_kernels_meanwhile, compiled
from nima_cli.cli.options import Debug, Json, Quiet, Verbose, examples, path_of
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.config.load import Resolved
    from nima_cli.config.schema import Config
    from nima_cli.engine.checkpoint.file import Checkpoint
    from nima_cli.engine.training.session import Session

EXAMPLES = examples(
    "nima train --data data/docs",
    "nima train --data data/docs --preset gpt-small --output-dir experiments/small --set model.dropout=0.1",
    "nima train -c configs/technical.yaml --max-steps 300",
    "nima train --resume auto",
    "nima train --epochs 1",
    note="data/docs is a folder that `nima data prepare` made; configs/technical.yaml comes with nima's source. The "
    "last one needs no file: it learns the embedded documentation of Python.",
)


def train(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="A YAML file, such as configs/technical.yaml.",
            metavar="FILE",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="gpt-tiny, gpt-small or gpt-medium.", metavar="NAME", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="A prepared dataset. Without any data: the embedded documentation of Python.",
            metavar="DIR",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", help="The run directory.", metavar="DIR", parser=path_of, show_default="experiments/<name>"
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs",
            help="Passes over the data; by default as many as the text is worth.",
            metavar="X",
            show_default=False,
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", help="Optimizer steps at most.", metavar="N", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Rows in one forward pass.", metavar="N", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak learning rate.", metavar="X", show_default=False)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            help="`auto`, a checkpoint or a run directory to go on with.",
            metavar="auto|PATH",
            show_default=False,
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(
            "--init-from",
            help="Start a new run from the weights, shape and tokenizer of this one.",
            metavar="PATH",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    allow_data_change: Annotated[
        bool, typer.Option("--allow-data-change", help="Resume although the dataset is another one.")
    ] = False,
    eval_only: Annotated[
        bool, typer.Option("--eval-only", help="Do not train: evaluate the run on the test split.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="NAME", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Weights, data order, dropout.", metavar="N", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any setting of docs/config.md, as training.epochs=3; may be repeated.",
            metavar="SETTING",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and exit.")] = False,
    verify_resume: Annotated[
        bool,
        typer.Option(
            "--verify-resume", help="Prove here, in a few steps, that a stopped and resumed run is the same run; exit."
        ),
    ] = False,
    debug: Debug = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Train a GPT from random weights.

    Ctrl-C saves and stops; `--resume auto` goes on.
    """
    overrides: dict[str, Any] = {
        "data.dir": str(data) if data is not None else None,
        "data.sources": [] if data is not None else None,
        "training.epochs": epochs,
        "training.max_steps": max_steps,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
        "hardware.device": device,
    }
    stop.install_save()  # a save that is asked for before training begins is done at its first step
    name = config.stem if config is not None else preset

    def decide() -> "Session | None":
        resume_path, checkpoint = _find_resume(resume, output_dir, name)
        if eval_only:
            chosen = resume_path or output_dir or rundir.find_run_dir(None, name)
            _evaluate(chosen, data=data, device=device, json=json, quiet=quiet)
            return None
        start = _start(init_from) if checkpoint is None else None
        resolved = _load(config, overrides, set_ or [], preset, _base(checkpoint, start))
        from nima_cli.cli.datasets import data_dir, kept_dataset, with_sources

        settings = with_sources(resolved.config)
        if settings is not resolved.config and not quiet:
            _say_what_is_learnt()
        if start is not None:
            settings = initial.with_tokenizer(settings, start)
        if verbose:
            _show_sources(resolved)
        if dry_run:
            from nima_cli.cli.commands.dry_run import show_plan

            show_plan(settings, data_dir(settings.data), json=json)
            return None
        compile_kernels_meanwhile(settings.hardware.device)
        if verify_resume:
            from nima_cli.cli.commands.verify import show_verdict

            _prepare(settings, quiet=quiet)
            show_verdict(settings, data_dir(settings.data), json=json)
            return None
        if resume_path is not None and not _branches_off(resume_path, output_dir):
            run_dir = resume_path.parent
        else:
            run_dir = rundir.new_run_dir(output_dir, name or _run_name(settings), again=resume == "auto")
            if output_dir is None:
                claimed.append(run_dir)
        kept = (
            kept_dataset(settings, checkpoint, resume_path.parent) if checkpoint is not None and resume_path else None
        )
        if kept is None:
            _prepare(settings, quiet=quiet)
            kept = data_dir(settings.data)
        return _session(settings, kept, run_dir, resume_path, init_from, allow_data_change)

    claimed: list[Path] = []
    try:
        processes.run(decide, quiet=quiet, json=json)
    finally:
        for run_dir in claimed:
            rundir.give_back(run_dir)


def _find_resume(
    resume: str | None, output_dir: Path | None, name: str | None
) -> "tuple[Path | None, Checkpoint | None]":
    """The checkpoint file to go on from and what it holds; nothing when this is to be a new run."""
    if resume is None:
        return None, None
    from nima_cli.engine.checkpoint import file as checkpoints
    from nima_cli.ui.console import say

    if resume != "auto" and not Path(resume).is_dir():
        return Path(resume), checkpoints.load(Path(resume))
    run_dir = Path(resume) if resume != "auto" else rundir.find_run_dir(output_dir, name)
    if run_dir is None or (resume == "auto" and not rundir.holds_checkpoint(run_dir)):
        if output_dir is None and name is None:
            raise InputError("--resume auto: there is no run under `experiments/`", hint="start one without --resume")
        say("nothing to resume yet: starting a new run")
        return None, None
    path, checkpoint, refused = checkpoints.newest_valid(run_dir)
    for problem in refused:
        say(f"{problem}; going on from {path.name}", "warning")
    return path, checkpoint


def _branches_off(resume: Path, output_dir: Path | None) -> bool:
    """Whether a new run in `output_dir` goes on from a checkpoint of another one."""
    return output_dir is not None and output_dir.resolve() != resume.parent.resolve()


def _evaluate(run: Path | None, *, data: Path | None, device: str | None, json: bool, quiet: bool) -> None:
    """Measure a run on the test split instead of training."""
    from nima_cli.cli.commands.evaluate import evaluate_checkpoint

    if run is None:
        raise InputError("--eval-only: there is no run to evaluate", hint="name its checkpoint with --resume PATH")
    evaluate_checkpoint(run, data=data, split="test", json=json, device=device or "auto", dtype="auto", quiet=quiet)


def _start(init_from: Path | None) -> "Checkpoint | None":
    """The checkpoint that `--init-from` names."""
    if init_from is None:
        return None
    from nima_cli.engine.checkpoint import file as checkpoints
    from nima_cli.engine.checkpoint.files import find

    return checkpoints.load(find(init_from))


def _base(resume: "Checkpoint | None", start: "Checkpoint | None") -> dict[str, Any] | None:
    """The settings that come from a checkpoint: all of them to go on, the shape to start anew."""
    if resume is not None:
        return resume.header.get("config")
    return initial.foundation(start) if start is not None else None


def _load(
    config: Path | None, overrides: dict[str, Any], set_: list[str], preset: str | None, base: dict[str, Any] | None
) -> "Resolved":
    from nima_cli.config.load import load_config

    return load_config(config, overrides=overrides, set_=set_, preset=preset, base=base)


def _prepare(settings: "Config", *, quiet: bool) -> None:
    """Make the dataset when its sources changed."""
    from nima_cli.cli.datasets import ensure_prepared
    from nima_cli.cli.event_handlers import dispatch
    from nima_cli.engine.cores import cpu_count
    from nima_cli.loggers import Guarded
    from nima_cli.ui.console import say
    from nima_cli.ui.progress_view import prepare_view

    view = Guarded(prepare_view(quiet=quiet), "the display", say)
    dispatch(ensure_prepared(settings.data, workers=cpu_count()), [view])


def _session(
    settings: "Config",
    data: Path,
    run_dir: Path,
    resume: Path | None,
    init_from: Path | None,
    allow_data_change: bool,
) -> "Session":
    from nima_cli.engine.training.session import Session

    return Session(settings, data, run_dir, resume, init_from, allow_data_change, compiled())


def _say_what_is_learnt() -> None:
    """That nobody named any data, and how to."""
    from nima_cli.ui.console import say

    say("no data was named: learning the documentation that came with this Python")
    say(
        "for documents of your own: `nima data prepare --output-dir data/mine --text-files FOLDER`, then "
        "`nima train --data data/mine`",
        "hint",
    )


def _run_name(settings: "Config") -> str:
    return settings.model.preset or "gpt-custom"


def _show_sources(resolved: "Resolved") -> None:
    """Where each setting comes from, on stderr."""
    from nima_cli.engine.training.resume.same_run import flatten
    from nima_cli.ui.console import say

    values = flatten(resolved.config.model_dump(mode="json"))
    for key, source in resolved.origins.items():
        if source != "default":
            say(f"{key} = {values.get(key)}  ({source})")
