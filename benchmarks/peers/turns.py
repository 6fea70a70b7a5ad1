"""How a contender takes its turns: it says that it is ready, and works whenever it is told to; see `race.py`."""

import sys
import time
from collections.abc import Callable


class Turns:
    """One contender's side of the conversation over stdin and stdout; anything else it prints goes to stderr."""

    def __init__(self) -> None:
        self._out, sys.stdout = sys.stdout, sys.stderr
        self._began = 0.0

    def begin(self) -> None:
        """Say that the last turn is over, if there was one, and wait for the next; leave when there is none."""
        now = time.perf_counter()
        self._out.write(f"{now - self._began if self._began else 0.0}\n")
        self._out.flush()
        if not sys.stdin.readline():
            sys.exit()
        self._began = time.perf_counter()

    def take(self, work: Callable[[], object]) -> None:
        """Do `work` once for every turn there is; never returns."""
        while True:
            self.begin()
            work()
