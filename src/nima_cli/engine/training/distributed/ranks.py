"""Sums and agreement between training processes; a single one does without."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
import torch.distributed as dist

from nima_cli.errors import DeviceError, NimaError

# For an answer that should come at once: a dead process ends all within 60 seconds.
TIMEOUT = timedelta(seconds=45)
# Until the first step is done, for some processes still compile; the connections of a dead one close at once.
FIRST_STEP_TIMEOUT = timedelta(minutes=15)
_NONE_FAILED = 2**62
_CPU = torch.device("cpu")
_CODES = 256  # exit codes fit below it


class PeerLostError(DeviceError):
    """Another process is gone or silent; the launcher knows which."""


class FailedElsewhereError(NimaError):
    """Another process has failed and says why; this one ends with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process has failed")
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among those that train together, on all machines and on its own (`local_`).

    Attributes:
        comm_device: of tensors that go to other processes: nccl talks between GPUs only.
        grad_group: for gradients; None is the default group, gloo's.
        slow_group: with a long timeout, for waits while the first process reads and writes files.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    comm_device: torch.device = _CPU
    grad_group: dist.ProcessGroup | None = None
    slow_group: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def sum_int(self, value: int) -> int:
        """Add `value` up over all processes."""
        return self._reduce_int(value, dist.ReduceOp.SUM)

    def max_int(self, value: int, *, slow: bool = False) -> int:
        """Find the largest `value` of all processes; `slow` waits as long as `barrier` does."""
        return self._reduce_int(value, dist.ReduceOp.MAX, slow=slow)

    def _reduce_int(self, value: int, operation: dist.ReduceOp.RedOpType, *, slow: bool = False) -> int:
        if self.world_size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.int64)
        with _communication():
            dist.all_reduce(tensor, op=operation, group=self.slow_group if slow else None)
        return int(tensor.item())

    def sum_tensors_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message per type."""
        if self.world_size == 1:
            return
        by_dtype: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            flat = torch.cat([tensor.flatten() for tensor in group]).to(self.comm_device)
            with _communication():
                dist.all_reduce(flat, group=self.grad_group)
            for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def shard_range(self, count: int) -> range:
        """This process's share of `count` things: ranges of equal length, the last ones shorter or empty."""
        size = -(-count // self.world_size)
        return range(min(count, self.rank * size), min(count, (self.rank + 1) * size))

    def gather(self, mine: torch.Tensor, count: int) -> torch.Tensor:
        """Concatenate every process's `shard_range` of `count` things along the first axis."""
        if self.world_size == 1:
            return mine
        size = -(-count // self.world_size)
        padded = mine.new_zeros(size, *mine.shape[1:], device=self.comm_device)
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        with _communication():
            dist.all_gather(parts, padded, group=self.grad_group)
        return torch.cat(parts)[:count].to(mine.device)

    def barrier(self) -> None:
        """Wait for every process, however long the first one works on files."""
        if self.world_size > 1:
            with _communication():
                dist.barrier(group=self.slow_group)

    def broadcast(self, text: str) -> str:
        """Give all the first process's `text`; a pickle over the network would run its sender's code."""
        if self.world_size == 1:
            return text
        data = bytearray(text.encode() if self.is_first else b"")
        size = self._reduce_int(len(data), dist.ReduceOp.MAX)
        message = torch.frombuffer(data.ljust(max(1, size)), dtype=torch.uint8)
        with _communication():
            dist.broadcast(message, src=0)
        return bytes(message[:size].tolist()).decode()

    @contextmanager
    def raise_together(self) -> Iterator[None]:
        """Let a block that fails in any process fail in all: FailedElsewhereError in all but the first to blame."""
        if self.world_size == 1:
            yield
            return
        failure: BaseException | None = None
        try:
            yield
        except PeerLostError:  # there is nobody left to agree with
            raise
        except (Exception, SystemExit) as error:
            failure = error
        key = self.rank * _CODES + _exit_code(failure) if failure is not None else _NONE_FAILED
        lowest = self._reduce_int(key, dist.ReduceOp.MIN, slow=True)
        if lowest == _NONE_FAILED:
            return
        if failure is not None and lowest // _CODES == self.rank:
            raise failure
        raise FailedElsewhereError(lowest % _CODES) from failure

    def linked(self, device: torch.device, backend: str) -> "Ranks":
        """The same ranks with gradients through `hardware.backend`, or what suits the devices."""
        if self.world_size == 1:
            return self
        gpus = self.sum_int(int(device.type == "cuda"))
        with self.raise_together():
            if backend == "nccl" and gpus < self.world_size:
                raise DeviceError("`hardware.backend: nccl` needs CUDA GPUs", hint="use `gloo` or `auto`")
            if gpus not in (0, self.world_size):
                raise DeviceError(f"{gpus} of {self.world_size} processes have a GPU", hint="set `hardware.device`")
        if not gpus or backend == "gloo":
            return self
        torch.cuda.set_device(device)  # before the group is made: nccl takes the current one
        with _communication():
            group = dist.new_group(backend="nccl", timeout=FIRST_STEP_TIMEOUT, device_id=device)
        return replace(self, comm_device=device, grad_group=group)

    def settle(self, timeout: timedelta = TIMEOUT) -> None:
        """After the first step, take a process that does not answer within `timeout` for lost."""
        if self.world_size > 1:
            set_timeout(dist.group.WORLD, timeout)
            set_timeout(self.grad_group, timeout)


SINGLE = Ranks()


def set_timeout(group: dist.ProcessGroup | None, timeout: timedelta) -> None:
    """Set how long members of a group wait for each other."""
    if group is not None:
        torch.distributed.distributed_c10d._set_pg_timeout(timeout, group)


@contextmanager
def _communication() -> Iterator[None]:
    """Translate the RuntimeError of any backend when the other side is gone or silent."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError("lost contact with another process", hint="go on with `resume=auto`") from error


def _exit_code(failure: BaseException) -> int:
    if isinstance(failure, NimaError):
        return failure.exit_code
    return failure.code if isinstance(failure, SystemExit) and isinstance(failure.code, int) else 1
