"""Starts several training processes on this machine with PyTorch's elastic launcher; knows nothing of training."""

import logging
import signal
from collections.abc import Callable
from typing import Any

import torch

from nima_cli.config.schema import HardwareConfig
from nima_cli.errors import DeviceError

# They report a failed process by a traceback, below the line that the process itself has printed.
_LAUNCHER_LOGS = (
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.elastic.multiprocessing.api",
)


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


def launch(worker: Callable[..., Any], arguments: tuple[Any, ...], *, processes: int) -> int:
    """Run `worker(*arguments)` in every process and wait; when one fails, the others are ended.

    Rendezvous listens on localhost only: torch.distributed does not authenticate.

    Returns:
        0, or the exit code of the first process that failed, which has then said why itself; 130 or 143 after a signal.

    Raises:
        DeviceError: a process was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in _LAUNCHER_LOGS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
        rank, failure = error.get_first_failure()
        if failure.exitcode <= 0:
            raise DeviceError(f"training process {rank} was killed by signal {-failure.exitcode}") from error
        return int(failure.exitcode)
    except SignalException as error:
        return 130 if error.sigval == signal.SIGINT else 143
    return 0
