"""The file of `nima data prepare --report`: a JSON line for all that was left out; knows nothing of why."""

import json
from contextlib import ExitStack
from pathlib import Path

from nima_cli.events import DatasetReady, Dropped, Event, Progress
from nima_cli.files import atomic_write


class DropsSink:
    """Writes `Dropped` events to a file that appears, whole, when the dataset is ready; without a dataset, never.

    Attributes:
        written: whether the file is there.

    Raises:
        ResourceError: the file cannot be written; when it is made, or on an event.
    """

    def __init__(self, path: Path) -> None:
        self.written = False
        self._open = ExitStack()
        self._stream = self._open.enter_context(atomic_write(path))
        self._prepared = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Dropped):
            row = {"source": event.source, "where": event.where, "reason": event.reason, "figures": dict(event.figures)}
            self._stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")
        elif isinstance(event, Progress):
            self._prepared = True
        elif isinstance(event, DatasetReady) and self._prepared:
            self._open.close()
            self.written = True

    def close(self) -> None:
        """Give up what is not complete."""
        if not self.written:
            failure = _NotReadyError()
            self._open.__exit__(_NotReadyError, failure, None)


class _NotReadyError(Exception):
    """Leaves `atomic_write` without the file."""
