"""Maps pure functions over tasks on a Ray cluster, results in order.

When a worker dies, Ray gives its task to another one. Results do not depend on who computed them. What Ray reads from
the environment (tokens, reports to its makers) is for the program to set.
"""

import contextlib
import functools
import logging
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from nima_cli import __version__
from nima_cli.engine.data.parallel import AHEAD, Mapper, in_window
from nima_cli.errors import NimaError, ResourceError

T = TypeVar("T")
R = TypeVar("R")

LOCAL = "local"
# How often a task may lose its worker.
_RETRIES = 3
# Seconds in which a running cluster must take a connection; Ray itself tries for minutes.
_PATIENCE = 10.0
# Bytes of results that wait in shared memory on this machine; tasks under way need far less.
_STORE_BYTES = 2**29


@contextlib.contextmanager
def ray_mapper(address: str, workers: int, folders: Sequence[Path]) -> Iterator[Mapper]:
    """A map over the processors of a Ray cluster; it raises a ResourceError where a worker dies again and again.

    Args:
        address: of a running cluster, as `ray.init` takes it; `LOCAL` starts one on this machine for the time being.
        workers: processes of a cluster that is started here; a running one uses all it has.
        folders: absolute; every machine of the cluster must see them.

    Raises:
        ResourceError: Ray is not installed, or no cluster answers.
    """
    with contextlib.ExitStack() as stack:
        settings: dict[str, Any] = {"address": address, "logging_level": logging.ERROR, "log_to_driver": False}
        if address == LOCAL:
            # For sockets, whose paths may have 107 characters on Linux and fewer elsewhere.
            home = tempfile.mkdtemp(prefix="nima-ray-", dir=None if sys.platform == "win32" else "/tmp")
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            settings |= {
                "num_cpus": workers,
                "num_gpus": 0,
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
                "_temp_dir": home,
                # By default a task that needs too much memory is tried for ever.
                "_system_config": {"task_oom_retries": _RETRIES},
            }
        # In the main thread Ray would take over SIGTERM, and what that means is for the program to say. The thread
        # stays until all is shut down: what it has started ends with it.
        thread = stack.enter_context(ThreadPoolExecutor(1))
        try:
            _probe(address)
            ray = _ray()
            stack.enter_context(_quiet(ray))
            stack.callback(ray.shutdown)
            thread.submit(ray.init, **settings).result()
        except (OSError, OverflowError, RuntimeError, ValueError, AssertionError) as error:
            what = (str(error) or type(error).__name__).strip().partition("\n")[0]
            raise ResourceError(
                f"{address}: no Ray cluster to work on: {what}",
                hint="`ray status` shows a running one; without an address one is started on this machine",
            ) from error
        window = max(int(ray.cluster_resources().get("CPU", 1)), 1) * AHEAD
        needs = ray.put((tuple(folders), own_versions()))
        work = ray.remote(max_retries=_RETRIES)(_packed)

        def run(function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
            return in_window(lambda task: work.remote(function, task, needs), _result, tasks, window)

        yield run


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ResourceError("the package `ray` is missing", hint="`pip install 'nima[ray]'`") from error
    return ray


def _probe(address: str) -> None:
    """Knock where a cluster should listen; Ray itself resolves other addresses than `HOST:PORT`, such as `auto`."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray prints on standard output that a worker died and its task is tried again; no setting turns that off."""
    module = ray._private.worker
    printing = module.print_to_stdstream
    module.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        module.print_to_stdstream = printing


def _result(reference: Any) -> Any:
    ray = _ray()
    try:
        result, failure = ray.cloudpickle.loads(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        what = str(error).strip().partition("\n")[0]
        raise ResourceError(
            f"a Ray worker ended again and again: {what}",
            hint="does a machine of the cluster lack memory, or nima itself? `ray status` and its logs say more",
        ) from error
    if failure is not None:
        raise failure
    return result


# --- in the workers -------------------------------------------------------------------------------------------------


def own_versions() -> tuple[str, str]:
    """Versions of nima and of Python in this process."""
    return __version__, ".".join(platform.python_version_tuple()[:2])


def _packed(function: Callable[[Any], Any], task: Any, needs: tuple[tuple[Path, ...], tuple[str, str]]) -> bytes:
    """The result of a task and the expected failure that it ended with, one of them None.

    Packed by hand: arrays that Ray unpacks are read-only, and keep its shared memory filled.
    """
    outcome: tuple[Any, NimaError | None]
    try:
        check_machine(*needs)
        outcome = function(task), None
    except NimaError as error:
        outcome = None, error
    packed: bytes = _ray().cloudpickle.dumps(outcome)
    return packed


@functools.lru_cache(maxsize=1)
def check_machine(folders: tuple[Path, ...], versions: tuple[str, str]) -> None:
    """Once a process, because machines may join a cluster at any time.

    Args:
        folders: absolute paths that all machines share.
        versions: of nima and of Python; others could give other bytes.

    Raises:
        ResourceError: this machine lacks something.
    """
    host = socket.gethostname()
    if own_versions() != versions:
        here, there = ("nima {} and Python {}".format(*pair) for pair in (versions, own_versions()))
        raise ResourceError(
            f"{host}: the Ray worker there runs {there}, and this is {here}",
            hint="install the same versions on every machine of the cluster",
        )
    for folder in folders:
        if not folder.is_dir():
            raise ResourceError(
                f"{folder}: the Ray worker on {host} cannot see this folder",
                hint="keep the sources and the output folder where all machines of the cluster find them by one path",
            )
