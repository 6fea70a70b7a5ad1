"""Starts several training processes on this machine with PyTorch's elastic launcher."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import torch

from nima_cli.config.schema import HardwareConfig
from nima_cli.engine.device import pick_device
from nima_cli.errors import DeviceError
from nima_cli.events import Note

# The exit code of a worker that only lost contact with another: the launcher reports the reason.
PEER_LOST = 75

# They report a failed process by a traceback, below the line that the process itself has printed.
_LAUNCHER_LOGS = (
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.elastic.multiprocessing.api",
    "torch.multiprocessing.spawn",
)
_WATCH_SECONDS = 0.2
_QUIET_SECONDS = 1.0
# For an orderly end after a signal: the step, the checkpoint, the reports.
_SHUTDOWN_SECONDS = 300


def process_count(hardware: HardwareConfig) -> int:
    """Processes that `hardware` asks for: one per entry of `gpu_ids`, else one per GPU.

    Raises:
        DeviceError: the machine does not have what is asked for.
    """
    if not hardware.distributed:
        return 1
    on_gpu = hardware.device == "cuda" or (hardware.device == "auto" and torch.cuda.is_available())
    count = len(hardware.gpu_ids) or (torch.cuda.device_count() if on_gpu else 0)
    if count == 0:
        raise DeviceError(
            "`hardware.distributed` finds no GPU to spread over",
            hint="set `hardware.gpu_ids`; on a CPU, one process is started per entry",
        )
    if hardware.backend == "nccl" and not on_gpu:
        raise DeviceError("`hardware.backend: nccl` needs CUDA GPUs", hint="use `gloo` or `auto`")
    if on_gpu:
        for index in hardware.gpu_ids or range(count):
            pick_device("cuda", False, index)
    return count


def unused_settings(hardware: HardwareConfig, device: torch.device, *, processes: int) -> Iterator[Note]:
    """Settings of `hardware` that this run does not use; shared files are written for other machines too."""
    if processes == 1 and hardware.backend != "auto":
        yield Note("info", f"`hardware.backend: {hardware.backend}` is not used: one process trains alone")
    if processes == 1 and hardware.gpu_ids and device.type != "cuda":
        yield Note("info", "`hardware.gpu_ids` is not used: this run is not on a GPU")
    elif processes == 1 and len(hardware.gpu_ids) > 1:
        yield Note("info", f"of `hardware.gpu_ids` only {hardware.gpu_ids[0]} is used: `hardware.distributed` is off")


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
        monitor_interval=_WATCH_SECONDS,
        start_method="spawn",
    )
    if hasattr(config, "shutdown_timeout"):  # older releases of torch kill after 30 seconds
        config.shutdown_timeout = _SHUTDOWN_SECONDS
    try:
        _pass_on_save_signal()
        elastic_launch(config, worker)(*arguments)
    except ChildFailedError as error:
        return _exit_code(error.get_first_failure())
    except SignalException as error:
        return 130 if error.sigval == signal.SIGINT else 143
    return 0


def _exit_code(first: tuple[int, Any]) -> int:
    rank, failure = first
    hint = "go on with `resume=auto`"
    if failure.exitcode == -signal.SIGABRT:  # from inside torch, where the libraries that move gradients give up
        raise DeviceError(
            f"training process {rank} was ended by torch (SIGABRT): the reason is in the lines above, and often that "
            "another process or GPU did not answer",
            hint=hint,
        )
    if failure.exitcode <= 0:
        raise DeviceError(f"training process {rank} was killed by signal {-failure.exitcode}", hint=hint)
    if failure.exitcode == PEER_LOST:
        raise DeviceError(f"training process {rank} lost contact with the others", hint=hint)
    return int(failure.exitcode)


def leave_quietly(exit_code: int) -> NoReturn:
    """End a process whose failure another one explains, after it: a launcher reports the first that ends."""
    time.sleep(_QUIET_SECONDS)
    raise SystemExit(exit_code)


def end_with_parent() -> None:
    """From now on the death of the launcher counts as SIGTERM."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _pass_on_save_signal() -> None:
    """Pass SIGUSR1 on to the workers, which inherit it blocked and unblock it once they can handle it."""
    number = getattr(signal, "SIGUSR1", None)  # Windows has none
    if number is None:
        return

    def pass_on() -> None:
        while True:
            signal.sigwait({number})
            for child in multiprocessing.active_children():
                with suppress(ProcessLookupError):
                    os.kill(child.pid or 0, number)

    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    threading.Thread(target=pass_on, name="signals", daemon=True).start()
