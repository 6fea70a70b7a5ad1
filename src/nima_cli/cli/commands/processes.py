"""Runs a training session in this process, in the world that a launcher made, or in processes of our own."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from nima_cli.cli import rundir, stop
from nima_cli.errors import DivergedError

if TYPE_CHECKING:
    from nima_cli.engine.training.distributed.ranks import Ranks
    from nima_cli.engine.training.distributed.rendezvous import Place
    from nima_cli.engine.training.session import OpenSession, Session
    from nima_cli.events import Event, EventHandler, RunEnded

    Decide = Callable[[], "Session | None"]

_LAUNCHED = {"WORLD_SIZE", "SLURM_STEP_NUM_TASKS"}  # what torchrun and srun say to those they start


def run(decide: "Decide", *, quiet: bool, json: bool) -> None:
    """Decide what to train, and train it.

    Args:
        decide: reads the command line and the files; None where nothing is to be trained. Only one process calls it.
    """
    if not _LAUNCHED.isdisjoint(os.environ):  # asked first, for torch takes seconds to be there
        from nima_cli.engine.training.distributed.rendezvous import find_place

        place = find_place(os.environ)
        if place is not None:
            _end(_in_world(place, decide, quiet=quiet, json=json, ours=False))
            return
    session = decide()
    if session is None:
        return
    from nima_cli.engine.training.distributed.launch import launch, process_count

    count = process_count(session.config.hardware)
    if count == 1:
        _end(_alone(session, quiet=quiet, json=json))
    else:
        _check(session, count)
        _end(launch(_worker, (session.to_json(), quiet, json), processes=count))


def _end(code: int) -> None:
    if code:
        raise typer.Exit(code)


def _alone(session: "Session", *, quiet: bool, json: bool) -> int:
    from nima_cli.engine.training.distributed.ranks import SINGLE
    from nima_cli.engine.training.session import open_session

    stop.install()  # only now: whatever came before can simply be dropped
    return _train(open_session(session), SINGLE, quiet=quiet, json=json)


def _check(session: "Session", processes: int) -> None:
    """Refuse what cannot be trained before any process is started for it."""
    from nima_cli.engine.training.session import open_session
    from nima_cli.engine.training.state import plan_run

    plan_run(session.config, open_session(session).dataset, world_size=processes)


def _worker(session: str, quiet: bool, json: bool) -> None:
    """What each process of our own runs; leaves with the exit code that the parent passes on."""
    from nima_cli.cli.error_handler import error_handler
    from nima_cli.engine.training.distributed.rendezvous import find_place
    from nima_cli.engine.training.session import Session

    os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())  # nobody outside has business with these processes
    place = find_place(os.environ)
    assert place is not None, "the elastic launcher sets its variables"
    with error_handler(debug=False):
        code = _in_world(place, lambda: Session.from_json(session), quiet=quiet, json=json, ours=True)
    if code:
        raise SystemExit(code)


def _in_world(place: "Place", decide: "Decide", *, quiet: bool, json: bool, ours: bool) -> int:
    """One process's part; only the first one decides, writes and speaks. Returns the exit code."""
    from nima_cli.engine.training.distributed.launch import end_with_parent
    from nima_cli.engine.training.distributed.rendezvous import joined

    if ours or "TORCHELASTIC_RUN_ID" in os.environ:  # a launcher that was killed cannot end its processes
        end_with_parent()
    with _one_voice(place, ours=ours), joined(place) as ranks:
        opened = _open(decide, ranks)
        return 0 if opened is None else _train(opened, ranks, quiet=quiet, json=json)


@contextmanager
def _one_voice(place: "Place", *, ours: bool) -> Iterator[None]:
    """Let one process say what all have met, and the others end with the same exit code and no word."""
    from nima_cli.engine.training.distributed.launch import PEER_LOST, leave_quietly
    from nima_cli.engine.training.distributed.ranks import FailedElsewhereError, PeerLostError

    try:
        yield
    except FailedElsewhereError as error:
        leave_quietly(error.exit_code)
    except PeerLostError as error:
        if ours:  # our launcher knows who went
            leave_quietly(PEER_LOST)
        if place.rank:
            leave_quietly(error.exit_code)
        raise
    except DivergedError as error:  # found in numbers that all share
        if place.rank:
            leave_quietly(error.exit_code)
        raise


def _open(decide: "Decide", ranks: "Ranks") -> "OpenSession | None":
    """What the first process decides to train, opened in every process."""
    from nima_cli.engine.training.session import Session, open_session

    session, opened = None, None
    with ranks.together():
        if ranks.is_first:
            session = decide()
            opened = open_session(session) if session is not None else None
    text = ranks.first_says(session.to_json() if session is not None else "")
    if not text:
        return None
    stop.install(again_ends=False)  # the terminal and the launcher may both deliver the same signal
    stop.install_save()
    if hasattr(signal, "SIGUSR1"):  # our launcher lets its processes inherit it blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    with ranks.together():
        return opened or open_session(Session.from_json(text), check_data=ranks.local_rank == 0)


def _loopback() -> str:
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "")


def _train(opened: "OpenSession", ranks: "Ranks", *, quiet: bool, json: bool) -> int:
    """Train; the first process shows the events and prints the result. Returns the exit code."""
    from nima_cli.cli.event_handlers import dispatch
    from nima_cli.engine.training import session as sessions
    from nima_cli.events import RunEnded

    ended = opened.already_ended
    if ended is None:
        events = sessions.train(opened, ranks=ranks, should_stop=stop.requested, should_save=stop.save_requested)
        try:
            last = (
                dispatch(_remembered(events), _views(opened, quiet=quiet)) if ranks.is_first else dispatch(events, [])
            )
        except DivergedError as error:
            raise DivergedError(error.message, hint=_what_next(opened.session)) from error
        assert isinstance(last, RunEnded), "training ends with it, or raises"
        ended = last
    elif ranks.is_first and not quiet:
        _say_that_nothing_is_left(opened.session, ended)
    if json and ranks.is_first:
        _print_result(opened.session, ended)
    return stop.EXIT_CODES[stop.requested() or "TERM"] if ended.reason == "interrupted" else 0


def _remembered(events: "Iterator[Event]") -> "Iterator[Event]":
    """The same events; the run becomes the last one as soon as it starts, however it will end."""
    from nima_cli.events import RunStarted

    for event in events:
        if isinstance(event, RunStarted):
            rundir.remember(event.run_dir)
        yield event


def _views(opened: "OpenSession", *, quiet: bool) -> "list[EventHandler]":
    from nima_cli.cli.event_handlers import run_event_handlers

    session = opened.session
    resumed = int(opened.resume.header["step"]) if opened.resume is not None else None
    history = session.resume.parent if session.resume is not None else session.run_dir
    return run_event_handlers(
        session.config.monitoring, session.run_dir, resumed_step=resumed, history=history, quiet=quiet
    )


def _say_that_nothing_is_left(session: "Session", ended: "RunEnded") -> None:
    from nima_cli.ui.console import command, say
    from nima_cli.ui.formatting import many

    training, run_dir = session.config.training, session.run_dir
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


def _what_next(session: "Session") -> str:
    """What one does after a run has diverged."""
    from nima_cli.ui.console import command

    run_dir, rate = session.run_dir, session.config.training.learning_rate
    if rundir.holds_checkpoint(run_dir):
        again = command("nima", "train", "--resume", run_dir, "--set", "training.max_rollbacks=2")
        return f"go on from there with {again}, which halves the learning rate where it diverges again"
    again = command(
        "nima", "train", "-c", run_dir / "config.yaml", "--learning-rate", f"{(rate or 2e-3) / 2:g}",
        "--output-dir", f"{run_dir}-2",
    )  # fmt: skip
    return f"begin again with half the learning rate: {again}"


def _print_result(session: "Session", ended: "RunEnded") -> None:
    from nima_cli.cli.event_handlers import print_json

    print_json(
        {
            "run_dir": str(session.run_dir),
            "reason": ended.reason,
            "step": ended.step,
            "best_loss": ended.best_loss if ended.best_step else None,
            "best_step": ended.best_step,
        }
    )
