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
    """Applies a module-level function (or a partial of one) to every task and yields the results in order."""

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]: ...


@contextlib.contextmanager
def process_mapper(workers: int) -> Iterator[Mapper]:
    """A map over `workers` processes, or in this process if that is 1; raises a ResourceError when a process dies.

    Processes are spawned, never forked, so that no lock or thread of the caller is copied. Functions must be pure, and
    everything picklable.
    """
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker)

    def run(function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        try:
            yield from in_window(lambda task: pool.submit(function, task), Future.result, tasks, workers * AHEAD)
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
    """The results of tasks in order, with at most `window` tasks under way."""
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
    """End this process when its parent was killed; it would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
