"""Runs a program of `nima train` in this process, in the world that a launcher made, or in processes of our own."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

from nima_cli.cli import stop
from nima_cli.cli.training.start import Start, TrainOptions
from nima_cli.errors import DivergedError

if TYPE_CHECKING:
    from nima_cli.engine.training.distributed.ranks import Ranks
    from nima_cli.engine.training.distributed.rendezvous import DistEnv
    from nima_cli.engine.training.session import OpenSession

Program = Callable[[], Start | None]

_LAUNCHED = {"WORLD_SIZE", "SLURM_STEP_NUM_TASKS"}  # what torchrun and srun say to those they start


def run(program: Program, *, quiet: bool, json: bool) -> int:
    """Let one process run the program, which decides what to train or returns None; train that; the exit code."""
    if not _LAUNCHED.isdisjoint(os.environ):  # else torch, whose import takes seconds, can wait
        from nima_cli.engine.training.distributed.rendezvous import find_dist_env

        if (env := find_dist_env(os.environ)) is not None:
            return _run_rank(env, program, quiet=quiet, json=json, ours=False)
    start = program()
    if start is None:
        return 0
    from nima_cli.cli.training.output import train_and_show
    from nima_cli.engine.training.distributed.launch import launch, process_count
    from nima_cli.engine.training.distributed.ranks import SINGLE

    session = start.session
    count = process_count(session.config.hardware)
    if count == 1:
        stop.install()  # only now: whatever came before can simply be dropped
        opened = start.open()
        del start  # or its checkpoint would stay loaded
        return train_and_show(opened, SINGLE, quiet=quiet, json=json)
    start.open(count)  # refuses what cannot be trained before any process is started for it
    del start  # each process loads the checkpoint for itself
    return launch(_worker, (session.to_json(), quiet, json), processes=count)


def _worker(session: str, quiet: bool, json: bool) -> None:
    """Run in each process of our own, and leave with the exit code that the parent passes on."""
    from nima_cli.cli.error_handler import error_handler
    from nima_cli.cli.flag_names import flags_named
    from nima_cli.engine.training.distributed.rendezvous import find_dist_env
    from nima_cli.engine.training.session import Session

    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)  # nobody outside has business with these processes
    env = find_dist_env(os.environ)
    assert env is not None, "the elastic launcher sets its variables"
    flags = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(TrainOptions)}
    with error_handler(debug=False), flags_named(flags):
        start = Start(Session.from_json(session), None)
        code = _run_rank(env, lambda: start, quiet=quiet, json=json, ours=True)
    if code:
        raise SystemExit(code)


def _run_rank(env: "DistEnv", program: Program, *, quiet: bool, json: bool, ours: bool) -> int:
    """Train as one of several processes and return the exit code; the first decides, writes and prints."""
    from nima_cli.cli.training.output import train_and_show
    from nima_cli.engine.training.distributed.launch import end_with_parent
    from nima_cli.engine.training.distributed.rendezvous import joined

    if ours or "TORCHELASTIC_RUN_ID" in os.environ:  # a launcher that was killed cannot end its processes
        end_with_parent()
    with _rank0_errors(env, ours=ours), joined(env) as ranks:
        opened = _open(program, ranks)
        return 0 if opened is None else train_and_show(opened, ranks, quiet=quiet, json=json)


@contextmanager
def _rank0_errors(env: "DistEnv", *, ours: bool) -> Iterator[None]:
    """Let only one process report an error that all have met; the others end silently with the same exit code."""
    from nima_cli.engine.training.distributed.launch import PEER_LOST, leave_quietly
    from nima_cli.engine.training.distributed.ranks import FailedElsewhereError, PeerLostError

    try:
        yield
    except FailedElsewhereError as error:
        leave_quietly(error.exit_code)
    except (PeerLostError, DivergedError) as error:  # all lose contact, or diverge on the same numbers
        if ours and isinstance(error, PeerLostError):  # our launcher knows who went
            leave_quietly(PEER_LOST)
        if env.rank:
            leave_quietly(error.exit_code)
        raise


def _open(program: Program, ranks: "Ranks") -> "OpenSession | None":
    """Open in every process what the first one decides to train."""
    from nima_cli.engine.training.session import Session, open_session

    start, opened = None, None
    with ranks.raise_together():
        if ranks.is_first:
            start = program()
            opened = start.open(ranks.world_size) if start is not None else None
    text = ranks.broadcast(start.session.to_json() if start is not None else "")
    if not text:
        return None
    stop.install(again_ends=False)  # the terminal and the launcher may both deliver the same signal
    if hasattr(signal, "SIGUSR1"):  # our launcher lets its processes inherit it blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    with ranks.raise_together():
        return opened or open_session(
            Session.from_json(text), world_size=ranks.world_size, check_data=ranks.local_rank == 0
        )
