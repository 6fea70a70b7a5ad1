"""Finds out from a launcher's variables which process of how many this one is, and joins the others; trains nothing."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from nima_cli.engine.cores import cpu_count
from nima_cli.engine.training.distributed.ranks import FIRST_STEP_TIMEOUT, TIMEOUT, Ranks, set_timeout
from nima_cli.errors import DeviceError

# How long the others wait while the first alone works: it may have a large dataset to prepare.
_PATIENCE = timedelta(hours=2)
_MARGIN_SECONDS = 3.0
# Away from the ports that systems hand out by themselves.
_FIRST_PORT, _PORTS = 20000, 12000


@dataclass(frozen=True, slots=True)
class Place:
    """One process among those that a launcher started.

    Attributes:
        address: where they meet, as `tcp://host:port`; None where torch's own variables say it.
        threads: what the launcher grants each process; None where it does not say.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str | None = None
    threads: int | None = None


def find_place(environ: Mapping[str, str]) -> Place | None:
    """The place that a launcher gave this process: torch's (ours and torchrun) or Slurm's srun; None without one.

    Raises:
        DeviceError: the launcher's variables contradict each other.
    """
    try:
        place = _torch_place(environ) or _slurm_place(environ)
    except (KeyError, ValueError) as error:
        raise DeviceError(f"the launcher's variables cannot be used: {error}", hint=_START) from error
    if place is None or (0 <= place.rank < place.world_size and 0 <= place.local_rank < place.local_world_size):
        return place
    raise DeviceError(f"this is process {place.rank} of {place.world_size}: no such place", hint=_START)


_START = "start with torchrun, with srun, or with `hardware.distributed: true`"


def _torch_place(environ: Mapping[str, str]) -> Place | None:
    if "WORLD_SIZE" not in environ:
        return None
    world_size, local_rank = int(environ["WORLD_SIZE"]), int(environ.get("LOCAL_RANK", "0"))
    local = int(environ.get("LOCAL_WORLD_SIZE", world_size))
    return Place(int(environ["RANK"]), world_size, local_rank, local)


def _slurm_place(environ: Mapping[str, str]) -> Place | None:
    """Only srun sets the variables of a step: a plain `nima train` in a batch script is alone."""
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return None
    host = first_host(environ["SLURM_STEP_NODELIST"])
    job, step = int(environ["SLURM_JOB_ID"]), int(environ.get("SLURM_STEP_ID", "0"))
    per_node = expand_counts(environ["SLURM_STEP_TASKS_PER_NODE"])
    granted = environ.get("SLURM_CPUS_PER_TASK")
    return Place(
        rank=int(environ["SLURM_PROCID"]),
        world_size=int(environ["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environ["SLURM_LOCALID"]),
        local_world_size=per_node[int(environ["SLURM_NODEID"])],
        address=f"tcp://{host}:{_FIRST_PORT + (job * 31 + step) % _PORTS}",
        threads=int(granted) if granted is not None else None,
    )


def first_host(nodes: str) -> str:
    """The first host of a Slurm list such as `gpu[07-09,12],login1`: `gpu07`."""
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", nodes).split(",")[0]


def expand_counts(counts: str) -> list[int]:
    """Slurm's counts per node, `2(x3),1`, one by one: 2, 2, 2, 1."""
    found: list[int] = []
    for part in counts.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        found += [int(count)] * int(times or 1)
    return found


@contextmanager
def joined(place: Place) -> Iterator[Ranks]:
    """Join the other processes until the block ends.

    Raises:
        DeviceError: they did not come in time, or cannot be reached.
    """
    # A launcher that sets nothing would give every process all cores, one that sets OMP_NUM_THREADS only one.
    torch.set_num_threads(place.threads or max(1, cpu_count() // place.local_world_size))
    if place.world_size == 1:
        yield Ranks()
        return
    patient = _in_time(place, lambda: _meet(place))
    yield Ranks(place.rank, place.world_size, place.local_rank, place.local_world_size, patient=patient)
    # Not after a failure: leaving in order waits for processes that may be gone, and this one is about to end.
    dist.destroy_process_group()


def _meet(place: Place) -> dist.ProcessGroup:
    """Join; returns the patient group."""
    dist.init_process_group(
        "gloo", init_method=place.address, timeout=TIMEOUT, rank=place.rank, world_size=place.world_size
    )
    set_timeout(dist.group.WORLD, FIRST_STEP_TIMEOUT)  # they have met; `Ranks.settle` goes back to the usual one
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return group


def _in_time(place: Place, meet: Callable[[], dist.ProcessGroup]) -> dist.ProcessGroup:
    """What `meet` returns, in a thread that is left alone when it takes too long.

    Torch waits without end for the answer of a stranger that happens to listen on the port.
    """
    found: list[dist.ProcessGroup] = []
    failed: list[str] = []

    def work() -> None:
        try:
            found.append(meet())
        except (RuntimeError, ValueError) as error:
            failed.append((str(error).splitlines() or ["no reason given"])[0][:200])

    thread = threading.Thread(target=work, name="rendezvous", daemon=True)
    thread.start()
    thread.join(TIMEOUT.total_seconds() + _MARGIN_SECONDS)
    if found:
        return found[0]
    raise DeviceError(
        f"process {place.rank} of {place.world_size} could not join the others: {(failed or ['no answer'])[0]}",
        hint="all must be started, with the same number of processes, and reach each other; see docs/scale.md",
    )
