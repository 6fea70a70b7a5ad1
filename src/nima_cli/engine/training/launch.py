"""Starts several training processes on this machine with PyTorch's elastic launcher; knows nothing of training."""

from collections.abc import Callable
from typing import Any

import torch

from nima_cli.config.schema import HardwareConfig
from nima_cli.errors import DeviceError


def process_count(hardware: HardwareConfig) -> int:
    """Processes that `hardware` asks for: one per entry of `gpu_ids`, else one per GPU.

    Raises:
        DeviceError: there is nothing to spread over.
    """
    if not hardware.distributed:
        return 1
    count = len(hardware.gpu_ids) or (torch.cuda.device_count() if hardware.device in ("auto", "cuda") else 0)
    if count == 0:
        raise DeviceError(
            "`hardware.distributed` finds no GPU to spread over",
            hint="set `hardware.gpu_ids`; on a CPU, one process is started per entry",
        )
    return count


def launch(worker: Callable[..., Any], arguments: tuple[Any, ...], *, processes: int) -> None:
    """Run `worker(*arguments)` in every process and wait; when one fails, the others are ended.

    Rendezvous listens on localhost only: torch.distributed does not authenticate.

    Raises:
        WorkerFailedError: a process failed; carries its exit code.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="nima",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        rdzv_configs={"is_host": True, "timeout": 60},
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
    )
    try:
        elastic_launch(config, worker)(*arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise WorkerFailedError(failure.local_rank, failure.exitcode) from error
    except SignalException as error:
        raise WorkerFailedError(0, 128 + int(error.sigval)) from error


class WorkerFailedError(DeviceError):
    """A training process ended before its work was done."""

    def __init__(self, rank: int, exit_code: int) -> None:
        super().__init__(f"training process {rank} ended with exit code {exit_code}")
        self.worker_exit_code = exit_code
