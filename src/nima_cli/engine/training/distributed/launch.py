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
    """Count one process per entry of `gpu_ids`, else one per GPU; what the machine lacks is a DeviceError."""
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
    """Note the `hardware` settings that this run ignores, as in a config shared between machines."""
    if processes == 1 and hardware.backend != "auto":
        yield Note("info", f"`hardware.backend: {hardware.backend}` is not used: one process trains alone")
    if processes == 1 and hardware.gpu_ids and device.type != "cuda":
        yield Note("info", "`hardware.gpu_ids` is not used: this run is not on a GPU")
    elif processes == 1 and len(hardware.gpu_ids) > 1:
        yield Note("info", f"of `hardware.gpu_ids` only {hardware.gpu_ids[0]} is used: `hardware.distributed` is off")


def launch(worker: Callable[..., Any], arguments: tuple[Any, ...], *, processes: int) -> int:
    """Run `worker(*arguments)` in every process and wait; when one fails, the others are ended.

    Returns:
        0, or the exit code of the first process that failed, which has said why itself; 130 or 143 after a signal.

    Raises:
        DeviceError: a process was killed, or lost contact.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in _LAUNCHER_LOGS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        1, 1, processes, run_id="nima", max_restarts=0, monitor_interval=_WATCH_SECONDS, start_method="spawn",
        # On localhost only: torch.distributed does not authenticate.
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", rdzv_configs={"is_host": True, "timeout": 60},
        local_addr="localhost",
    )  # fmt: skip
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
    rank, code = first[0], int(first[1].exitcode)
    how = {
        PEER_LOST: "lost contact with the others",
        # From inside torch, where the libraries that move gradients give up.
        -signal.SIGABRT: "was ended by torch (SIGABRT): the reason is in the lines above, and often that "
        "another process or GPU did not answer",
    }.get(code, f"was killed by signal {-code}" if code <= 0 else None)
    if how is None:
        return code
    raise DeviceError(f"training process {rank} {how}", hint="go on with `resume=auto`")


def leave_quietly(exit_code: int) -> NoReturn:
    """Exit after the process that explains the failure: a launcher reports the first that ends."""
    time.sleep(_QUIET_SECONDS)
    raise SystemExit(exit_code)


def end_with_parent() -> None:
    """Send this process SIGTERM when its launcher dies."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _pass_on_save_signal() -> None:
    """Pass SIGUSR1 on to the workers, which inherit it blocked and unblock it once they can handle it."""

    def pass_on() -> None:
        while True:
            signal.sigwait({signal.SIGUSR1})
            for child in multiprocessing.active_children():
                with suppress(ProcessLookupError):
                    os.kill(child.pid or 0, signal.SIGUSR1)

    if hasattr(signal, "SIGUSR1"):  # Windows has none
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        threading.Thread(target=pass_on, name="signals", daemon=True).start()
