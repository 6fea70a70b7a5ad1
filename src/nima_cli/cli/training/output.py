"""Trains an open session and shows its events, its result, and what to do next."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nima_cli.cli import rundir, stop
from nima_cli.cli.event_handlers import dispatch, print_json, run_event_handlers
from nima_cli.errors import DivergedError
from nima_cli.events import Event, EventHandler, RunEnded, RunStarted
from nima_cli.ui.console import command, say
from nima_cli.ui.formatting import many

if TYPE_CHECKING:
    from nima_cli.engine.training.distributed.ranks import Ranks
    from nima_cli.engine.training.session import OpenSession


def train_and_show(opened: "OpenSession", ranks: "Ranks", *, quiet: bool, json: bool) -> int:
    """Train and return the exit code; the first process shows events and result."""
    from nima_cli.engine.training.session import train

    ended: Event | None = opened.already_ended
    if not isinstance(ended, RunEnded):
        events = train(opened, ranks=ranks, should_stop=stop.requested, should_save=stop.save_requested)
        try:
            ended = dispatch(_remember(events), _handlers(opened, quiet) if ranks.is_first else [])
        except DivergedError as error:
            raise DivergedError(error.message, hint=_what_next(opened)) from error
    elif ranks.is_first and not quiet:
        _say_that_nothing_is_left(opened, ended)
    assert isinstance(ended, RunEnded), "training ends with it, or raises"
    if json and ranks.is_first:
        best_loss = ended.best_loss if ended.best_step else None
        best = {"best_loss": best_loss, "best_step": ended.best_step}
        print_json({"run_dir": str(opened.session.run_dir), "reason": ended.reason, "step": ended.step, **best})
    return stop.EXIT_CODES[stop.requested() or "TERM"] if ended.reason == "interrupted" else 0


def _remember(events: Iterator[Event]) -> Iterator[Event]:
    """Pass the events on; a run that starts becomes the last one."""
    for event in events:
        if isinstance(event, RunStarted):
            rundir.remember(event.run_dir)
        yield event


def _handlers(opened: "OpenSession", quiet: bool) -> list[EventHandler]:
    session = opened.session
    step = int(opened.resume.header["step"]) if opened.resume is not None else None
    history = session.resume.parent if session.resume is not None else session.run_dir
    return run_event_handlers(
        session.config.monitoring, session.run_dir, resumed_step=step, history=history, quiet=quiet
    )


def _say_that_nothing_is_left(opened: "OpenSession", ended: RunEnded) -> None:
    training, run_dir = opened.spec.config.training, opened.session.run_dir
    if ended.reason == "completed":
        say(f"{run_dir}: already complete at step {ended.step}")
        limited = training.max_steps is not None and ended.step >= training.max_steps
        longer = ("--max-steps", f"{2 * ended.step}") if limited else ("--epochs", f"{2 * (training.epochs or 1):g}")
    else:
        patience = training.early_stopping.patience
        said = many(patience, "evaluation")
        say(f"{run_dir}: already stopped early at step {ended.step}, after {said} without improvement")
        longer = ("--set", f"training.early_stopping.patience={2 * patience}")
    train, talk = command("nima", "train", "--resume", run_dir, *longer), command("nima", "chat", run_dir)
    say(f"train longer with {train}, talk to it with {talk}", "hint")


def _what_next(opened: "OpenSession") -> str:
    """Say what to do after a run has diverged."""
    run_dir, rate = opened.session.run_dir, opened.spec.config.training.learning_rate
    if rundir.holds_checkpoint(run_dir):
        again = command("nima", "train", "--resume", run_dir, "--set", "training.max_rollbacks=2")
        return f"go on from there with {again}, which halves the learning rate where it diverges again"
    again = command(
        "nima", "train", "-c", run_dir / "config.yaml", "--learning-rate", f"{(rate or 2e-3) / 2:g}",
        "--output-dir", f"{run_dir}-2",
    )  # fmt: skip
    return f"begin again with half the learning rate: {again}"
