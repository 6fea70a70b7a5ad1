"""Maps pure functions over tasks on a Ray cluster, results in order; knows nothing of what is computed.

Ray gives the task of a worker that died to another one. Results do not depend on who computed them. What Ray reads from
the environment (tokens, reports to its makers) is for the program to set.
"""

import contextlib
import logging
import shutil
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from nima_cli.engine.data.parallel import AHEAD, Mapper
from nima_cli.engine.data.ray_task import Needs, own_versions, work
from nima_cli.errors import ResourceError

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
    """A map over the processors of a Ray cluster.

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
            home = _short_folder()
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            settings |= _own_cluster(home, workers)
        else:
            _probe(address)
        ray = _ray()
        # In the main thread Ray would take over SIGTERM, and what that means is for the program to say. The thread
        # stays until all is shut down: what it has started ends with it.
        thread = stack.enter_context(ThreadPoolExecutor(1))
        stack.enter_context(_quiet(ray))
        stack.callback(ray.shutdown)
        _connect(thread.submit(ray.init, **settings), address)
        processors = int(ray.cluster_resources().get("CPU", 1))
        yield _RayMapper(ray, max(processors, 1) * AHEAD, Needs(tuple(folders), own_versions()))


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ResourceError("the package `ray` is missing", hint="`pip install 'nima[ray]'`") from error
    return ray


def _short_folder() -> Path:
    """For sockets, whose paths may have 107 characters on Linux and fewer elsewhere."""
    return Path(tempfile.mkdtemp(prefix="nima-ray-", dir=None if sys.platform == "win32" else "/tmp"))


def _own_cluster(home: Path, workers: int) -> dict[str, Any]:
    return {
        "num_cpus": workers,
        "num_gpus": 0,
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
        "_temp_dir": str(home),
        # By default a task that needs too much memory is tried for ever.
        "_system_config": {"task_oom_retries": _RETRIES},
    }


def _probe(address: str) -> None:
    """Knock where a cluster should listen; what is no `HOST:PORT`, such as `auto`, is for Ray to understand."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _connect(connection: Future[Any], address: str) -> None:
    try:
        connection.result()
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise _unreachable(address, str(error) or type(error).__name__) from error


def _unreachable(address: str, what: str) -> ResourceError:
    hint = "`ray status --address ADDRESS` shows a running one; without `--ray-address` one is started on this machine"
    return ResourceError(f"{address}: no Ray cluster to work on: {what.strip().partition(chr(10))[0]}", hint=hint)


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


class _RayMapper:
    def __init__(self, ray: Any, window: int, needs: Needs) -> None:
        self._ray = ray
        self._window = window
        self._needs = ray.put(needs)
        self._work = ray.remote(max_retries=_RETRIES)(_packed)

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        """As `map`, with at most the window's number of tasks taken from the stream ahead of the results.

        Raises:
            ResourceError: a worker lacks what it needs, or died again and again.
        """
        pending: deque[Any] = deque()
        for task in tasks:
            pending.append(self._work.remote(function, task, self._needs))
            if len(pending) >= self._window:
                yield self._result(pending.popleft())
        while pending:
            yield self._result(pending.popleft())

    def _result(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            outcome = self._ray.cloudpickle.loads(self._ray.get(reference))
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:
            what = str(error).strip().partition("\n")[0]
            raise ResourceError(
                f"a Ray worker ended again and again: {what}",
                hint="does a machine of the cluster lack memory, or nima itself? `ray status` and its logs say more",
            ) from error
        if outcome.failure is not None:
            raise outcome.failure
        return outcome.result


def _packed(function: Callable[[Any], Any], task: Any, needs: Needs) -> bytes:
    """`work`, packed by hand: arrays that Ray unpacks are read-only, and keep its shared memory filled."""
    packed: bytes = _ray().cloudpickle.dumps(work(function, task, needs))
    return packed
