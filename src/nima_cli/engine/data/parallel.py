"""Maps pure functions over a stream of tasks on all cores, results in order."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from nima_cli.errors import ResourceError

T = TypeVar("T")
R = TypeVar("R")
Pending = TypeVar("Pending")

# Tasks under way for each worker: enough to keep it busy, few enough that memory stays bounded.
AHEAD = 3


class Mapper(Protocol):
    """Applies a module-level function (or a partial of one) to every task; results come in the order of the tasks."""

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]: ...


@contextlib.contextmanager
def process_mapper(workers: int) -> Iterator[Mapper]:
    """A map over `workers` processes, or in this process if that is 1.

    Processes are spawned, never forked, so that no lock or thread of the caller is copied. Functions, tasks and results
    must be picklable, and functions pure: the results do not depend on `workers`. The map raises a ResourceError where
    a process dies.
    """
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker)

    def run(function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        def submit(task: T) -> Future[R]:
            return pool.submit(function, task)

        try:
            yield from in_window(submit, Future.result, tasks, workers * AHEAD)
        except BrokenProcessPool as error:
            raise ResourceError(
                "a worker process ended too early, perhaps for lack of memory",
                hint="try `workers=1`; a script of your own must start its work under `if __name__ == '__main__':`",
            ) from error

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


def in_window(
    submit: Callable[[T], Pending], result: Callable[[Pending], R], tasks: Iterable[T], window: int
) -> Iterator[R]:
    """The results of tasks in their order, with at most `window` tasks taken from the stream ahead of the results."""
    pending: deque[Pending] = deque()
    for task in tasks:
        pending.append(submit(task))
        if len(pending) >= window:
            yield result(pending.popleft())
    while pending:
        yield result(pending.popleft())


def _begin_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker of a killed process would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
