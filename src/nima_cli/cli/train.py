"""`nima train`: turns the command line into a session, shows its events, and ends with the right exit code."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nima_cli.cli import rundir, stop
from nima_cli.cli.options import Debug, Json, Quiet, Verbose, examples
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.config.load import Resolved
    from nima_cli.config.schema import Config
    from nima_cli.engine.checkpoint import Checkpoint
    from nima_cli.engine.training.session import OpenSession, Session
    from nima_cli.events import Event, RunEnded, View

EXAMPLES = examples(
    "nima train --preset gpt-tiny --epochs 1",
    "nima train -c configs/technical.yaml --set training.dropout=0.1",
    "nima train -c configs/technical.yaml --data data/k8s --max-steps 300",
    "nima train --resume auto",
)


def train(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A YAML file, such as configs/technical.yaml.", show_default=False),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="gpt-tiny, gpt-small or gpt-medium.", metavar="NAME", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A prepared dataset; without any data, the embedded one.", show_default=False),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="The run directory.", show_default="experiments/<name>")
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the data.", show_default=False)] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", help="Optimizer steps at most.", show_default=False)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Rows in one forward pass.", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak learning rate.", show_default=False)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", help="`auto`, a checkpoint or a run directory to go on with.", show_default=False),
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option("--init-from", help="Start a new run from these weights.", show_default=False)
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
        int | None, typer.Option("--seed", help="Weights, data order, dropout.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting: section.key=value; may be repeated.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and exit.")] = False,
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
    name = config.stem if config is not None else preset
    resume_path, checkpoint = _find_resume(resume, output_dir, name)
    if eval_only:
        from nima_cli.cli.evaluate import evaluate_checkpoint

        chosen = resume_path or output_dir or rundir.find_run_dir(None, name)
        if chosen is None:
            raise InputError("--eval-only: there is no run to evaluate", hint="name its checkpoint with --resume PATH")
        evaluate_checkpoint(
            chosen, data=data, split="test", json=json, device=device or "auto", dtype="auto", quiet=quiet
        )
        return
    resolved = _load(config, overrides, set_ or [], preset, checkpoint)
    from nima_cli.cli.datasets import data_dir, with_sources

    settings = with_sources(resolved.config)
    if verbose:
        _show_sources(resolved)
    _prepare(settings, quiet=quiet, dry_run=dry_run)
    stop.install()  # only now: whatever came before can simply be dropped
    if dry_run:
        from nima_cli.cli.dry_run import show_plan

        show_plan(settings, data_dir(settings.data), json=json)
        return
    run_dir = (
        resume_path.parent if resume_path is not None else rundir.new_run_dir(output_dir, name or _run_name(settings))
    )
    session = _session(settings, run_dir, resume_path, init_from, allow_data_change)
    del checkpoint
    _run(session, quiet=quiet, json=json)


def _find_resume(
    resume: str | None, output_dir: Path | None, name: str | None
) -> "tuple[Path | None, Checkpoint | None]":
    """The checkpoint file to go on from and what it holds; nothing when this is to be a new run."""
    if resume is None:
        return None, None
    from nima_cli.engine import checkpoint as checkpoints
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


def _load(
    config: Path | None, overrides: dict[str, Any], set_: list[str], preset: str | None, checkpoint: "Checkpoint | None"
) -> "Resolved":
    from nima_cli.config.load import load_config

    base = checkpoint.header.get("config") if checkpoint is not None else None
    return load_config(config, overrides=overrides, set_=set_, preset=preset, base=base)


def _prepare(settings: "Config", *, quiet: bool, dry_run: bool) -> None:
    """Make the dataset when its sources changed; a dry run prepares nothing."""
    if dry_run:
        return
    from nima_cli.cli.datasets import ensure_prepared
    from nima_cli.cli.views import follow
    from nima_cli.engine.device import cpu_count
    from nima_cli.ui.prepare_view import prepare_view

    follow(ensure_prepared(settings.data, workers=cpu_count()), [prepare_view(quiet=quiet)])


def _session(
    settings: "Config", run_dir: Path, resume: Path | None, init_from: Path | None, allow_data_change: bool
) -> "Session":
    from nima_cli.cli.datasets import data_dir
    from nima_cli.engine.training.session import Session

    return Session(settings, data_dir(settings.data), run_dir, resume, init_from, allow_data_change)


def _run(session: "Session", *, quiet: bool, json: bool) -> None:
    """Train in this process, in the world that a launcher made, or in processes of our own."""
    from nima_cli.engine.training.launch import launch, process_count

    count = process_count(session.config.hardware)
    if count == 1 or "WORLD_SIZE" in os.environ:
        code = _train_here(session, quiet=quiet, json=json)
    else:
        _check(session, count)
        code = launch(_worker, (session, quiet, json), processes=count)
    if code:
        raise typer.Exit(code)


def _check(session: "Session", processes: int) -> None:
    """Refuse what cannot be trained once, before every process does."""
    from nima_cli.engine.training.session import open_session
    from nima_cli.engine.training.state import plan_run

    plan_run(session.config, open_session(session).dataset, world_size=processes)


def _worker(session: "Session", quiet: bool, json: bool) -> None:
    """What each process of our own runs; leaves with the exit code that the parent passes on."""
    from nima_cli.cli.door import guarded_by_the_door

    stop.install(again_ends=False)  # the terminal and the launcher may both deliver the same signal
    with guarded_by_the_door(debug=False):
        code = _train_here(session, quiet=quiet, json=json)
    if code:
        raise SystemExit(code)


def _train_here(session: "Session", *, quiet: bool, json: bool) -> int:
    """One process's part; the first one shows the events and prints the result. Returns the exit code."""
    from nima_cli.cli.views import follow
    from nima_cli.engine.training import session as sessions
    from nima_cli.engine.training.ranks import joined

    hardware = session.config.hardware
    with joined(os.environ, device=hardware.device, backend=hardware.backend) as ranks:
        opened = sessions.open_session(session)
        ended = opened.already_ended
        if ended is None:
            events = sessions.train(opened, ranks=ranks, should_stop=stop.requested)
            ended = follow(_remembered(events), _views(opened, quiet=quiet) if ranks.is_first else [])
        elif ranks.is_first:
            _say_that_nothing_is_left(session, ended)
        if json and ended is not None and ranks.is_first:
            _print_result(session, ended)
        return stop.EXIT_CODES[stop.requested() or "TERM"] if ended and ended.reason == "interrupted" else 0


def _remembered(events: "Iterator[Event]") -> "Iterator[Event]":
    """The same events; the run becomes the last one as soon as it starts, however it will end."""
    from nima_cli.events import RunStarted

    for event in events:
        if isinstance(event, RunStarted):
            rundir.remember(event.run_dir)
        yield event


def _views(opened: "OpenSession", *, quiet: bool) -> "list[View]":
    from nima_cli.cli.views import run_views

    session = opened.session
    resumed = int(opened.resume.header["step"]) if opened.resume is not None else None
    return run_views(session.config.monitoring, session.run_dir, resumed_step=resumed, quiet=quiet)


def _say_that_nothing_is_left(session: "Session", ended: "RunEnded") -> None:
    from nima_cli.ui.console import say

    if ended.reason == "completed":
        say(f"{session.run_dir}: already complete at step {ended.step}")
    else:
        patience = session.config.training.early_stopping.patience
        say(
            f"{session.run_dir}: already stopped early at step {ended.step}, "
            f"after {patience} evaluations without improvement"
        )


def _print_result(session: "Session", ended: "RunEnded") -> None:
    from nima_cli.cli.views import print_json

    print_json(
        {
            "run_dir": str(session.run_dir),
            "reason": ended.reason,
            "step": ended.step,
            "best_loss": ended.best_loss if ended.best_step else None,
            "best_step": ended.best_step,
        }
    )


def _run_name(settings: "Config") -> str:
    return settings.model.preset or "gpt-custom"


def _show_sources(resolved: "Resolved") -> None:
    """Where each setting comes from, on stderr."""
    from nima_cli.engine.training.resume import flatten
    from nima_cli.ui.console import say

    values = flatten(resolved.config.model_dump(mode="json"))
    for key, source in resolved.sources.items():
        if source != "default":
            say(f"{key} = {values.get(key)}  ({source})")
