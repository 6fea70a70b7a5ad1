"""Reads a launcher's environment variables and joins the other processes."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from nima_cli.engine.cores import cpu_count
from nima_cli.engine.training.distributed.ranks import FIRST_STEP_TIMEOUT, TIMEOUT, Ranks, set_timeout
from nima_cli.errors import DeviceError

_SLOW_TIMEOUT = timedelta(hours=2)  # the first process may have a large dataset to prepare
_MARGIN_SECONDS = 3.0
_FIRST_PORT, _PORTS = 20000, 12000  # away from the ports that systems hand out by themselves


@dataclass(frozen=True, slots=True)
class DistEnv:
    """One process among those that a launcher started.

    Attributes:
        address: where they meet, as `tcp://host:port`; None leaves that to torch's own variables.
        threads: of each process, where the launcher says.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str | None = None
    threads: int | None = None


def find_dist_env(environ: Mapping[str, str]) -> DistEnv | None:
    """Read the variables of torch's launcher (ours, torchrun) or Slurm's srun; None without one.

    Raises:
        DeviceError: the variables contradict each other.
    """
    start = "start with torchrun, with srun, or with `hardware.distributed: true`"
    try:
        env = _torch_env(environ) or _slurm_env(environ)
    except (KeyError, ValueError, IndexError) as error:
        raise DeviceError(f"the launcher's variables cannot be used: {error}", hint=start) from error
    if env is None or (0 <= env.rank < env.world_size and 0 <= env.local_rank < env.local_world_size):
        return env
    raise DeviceError(f"this is process {env.rank} of {env.world_size}: no such place", hint=start)


def _torch_env(environ: Mapping[str, str]) -> DistEnv | None:
    if "WORLD_SIZE" not in environ:
        return None
    world_size, local_rank = int(environ["WORLD_SIZE"]), int(environ.get("LOCAL_RANK", "0"))
    local = int(environ.get("LOCAL_WORLD_SIZE", world_size))
    return DistEnv(int(environ["RANK"]), world_size, local_rank, local)


def _slurm_env(environ: Mapping[str, str]) -> DistEnv | None:
    """Read the variables of a step, which srun alone sets; `scontrol` would read them but is missing in containers."""
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return None
    # The first of a list such as `gpu[07-09,12],login1`: `gpu07`.
    host = re.sub(r"\[([^],-]+)[^]]*\]", r"\1", environ["SLURM_STEP_NODELIST"]).split(",")[0]
    # Counts per node such as `2(x3),1`: 2, 2, 2, 1.
    counts = re.findall(r"(\d+)(?:\(x(\d+)\))?", environ["SLURM_STEP_TASKS_PER_NODE"])
    per_node = [int(count) for count, times in counts for _ in range(int(times or 1))]
    port = _FIRST_PORT + (int(environ["SLURM_JOB_ID"]) * 31 + int(environ.get("SLURM_STEP_ID", "0"))) % _PORTS
    threads = environ.get("SLURM_CPUS_PER_TASK")
    return DistEnv(
        rank=int(environ["SLURM_PROCID"]),
        world_size=int(environ["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environ["SLURM_LOCALID"]),
        local_world_size=per_node[int(environ["SLURM_NODEID"])],
        address=f"tcp://{host}:{port}",
        threads=int(threads) if threads is not None else None,
    )


@contextmanager
def joined(env: DistEnv) -> Iterator[Ranks]:
    """Join the other processes for the block; a DeviceError where they do not come in time."""
    # A launcher that sets nothing would give every process all cores, one that sets OMP_NUM_THREADS only one.
    torch.set_num_threads(env.threads or max(1, cpu_count() // env.local_world_size))
    if env.world_size == 1:
        yield Ranks()
        return
    slow_group = _join(env)
    yield Ranks(env.rank, env.world_size, env.local_rank, env.local_world_size, slow_group=slow_group)
    # Not after a failure: leaving in order waits for processes that may be gone, and this one is about to end.
    dist.destroy_process_group()


def _join(env: DistEnv) -> dist.ProcessGroup:
    """Join in a thread and return the slow group; torch would wait forever for a stranger that listens on the port."""
    found: list[dist.ProcessGroup] = []
    failed = ["no answer"]

    def join() -> None:
        try:
            dist.init_process_group(
                "gloo", init_method=env.address, timeout=TIMEOUT, rank=env.rank, world_size=env.world_size
            )
            set_timeout(dist.group.WORLD, FIRST_STEP_TIMEOUT)  # `Ranks.settle` goes back to the usual one
            found.append(dist.new_group(backend="gloo", timeout=_SLOW_TIMEOUT))
        except (RuntimeError, ValueError) as error:
            failed[0] = (str(error).splitlines() or ["no reason given"])[0][:200]

    thread = threading.Thread(target=join, name="rendezvous", daemon=True)
    thread.start()
    thread.join(TIMEOUT.total_seconds() + _MARGIN_SECONDS)
    if found:
        return found[0]
    raise DeviceError(
        f"process {env.rank} of {env.world_size} could not join the others: {failed[0]}",
        hint="all must be started, with the same number of processes, and reach each other; see docs/scale.md",
    )
