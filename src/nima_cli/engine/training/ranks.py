"""How many processes train together and how they add up numbers; with one process nothing here does anything."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from nima_cli.engine.device import cpu_count
from nima_cli.errors import DeviceError

_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among those that train together."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Only the first process writes files and speaks."""
        return self.rank == 0

    def sum_int(self, value: int) -> int:
        """The sum of `value` over all processes."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.int64, device=_wire())
        dist.all_reduce(tensor)
        return int(tensor.item())

    def max_int(self, value: int) -> int:
        """The largest `value` of all processes: how one process's wish to stop reaches every other."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.int64, device=_wire())
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor.item())

    def sum_tensors_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message per type."""
        if self.world_size == 1:
            return
        by_dtype: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            flat = torch.cat([tensor.flatten() for tensor in group])
            dist.all_reduce(flat)
            for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            dist.barrier()


def _wire() -> torch.device:
    """Where the backend wants its tensors: nccl talks between GPUs only."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


SINGLE = Ranks()


@contextmanager
def joined(environ: Mapping[str, str], *, device: str, backend: str) -> Iterator[Ranks]:
    """Join the processes that a launcher (ours, torchrun, Slurm's srun with torchrun) started, until the block ends.

    Args:
        environ: the process's environment, with the launcher's `RANK`, `WORLD_SIZE`, `LOCAL_RANK`; without them, alone.
        device: `hardware.device`.
        backend: `hardware.backend`.

    Raises:
        DeviceError: the backend does not fit the device, or the others did not come in time.
    """
    if "WORLD_SIZE" not in environ:
        yield SINGLE
        return
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    if backend == "nccl" and not on_gpu:
        raise DeviceError("`hardware.backend: nccl` needs CUDA GPUs", hint="use `gloo` or `auto`")
    chosen = backend if backend != "auto" else "nccl" if on_gpu else "gloo"
    ranks = Ranks(int(environ["RANK"]), int(environ["WORLD_SIZE"]), int(environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group(chosen, timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise DeviceError(f"rank {ranks.rank}: could not join the others: {str(error).splitlines()[0]}") from error
    # A launcher that sets nothing would give every process all cores, one that sets OMP_NUM_THREADS only one.
    torch.set_num_threads(max(1, cpu_count() // int(environ.get("LOCAL_WORLD_SIZE", ranks.world_size))))
    try:
        yield ranks
    finally:
        dist.destroy_process_group()
