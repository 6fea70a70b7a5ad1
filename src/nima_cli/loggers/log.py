"""`logs/train.log`: what happened when, over all processes of a run; a resume does not cut it."""

import os
import sys
import time
import traceback
from pathlib import Path

from nima_cli.errors import NimaError
from nima_cli.events import EvalDone, Event, Note, RolledBack, RunEnded, RunStarted, Saved
from nima_cli.files import make_folder

LOG_NAME = "train.log"


class LogFile:
    """Adds a line for each important event, and the reason when the run fails."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made at the first event."""
        self._folder = folder
        self._began = False

    def __call__(self, event: Event, /) -> None:
        """Take one event; raises OSError or ResourceError if the file cannot be written."""
        if line := _line(event):
            self._add(line)

    def close(self) -> None:
        """Add the exception that is being handled: a NimaError as one line, any other with its traceback."""
        failure = sys.exc_info()[1]
        if not self._began or failure is None:
            return
        if isinstance(failure, NimaError):
            self._add(f"error    {failure.message}" + (f" (hint: {failure.hint})" if failure.hint else ""))
        else:
            self._add("error    " + "".join(traceback.format_exception(failure)).rstrip().replace("\n", "\n    "))

    def _add(self, line: str) -> None:
        if not self._began:
            make_folder(self._folder)
            self._began = True
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with (self._folder / LOG_NAME).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"{stamp} {line}\n")


def _line(event: Event) -> str | None:
    match event:
        case RunStarted():
            return (
                f"started  pid {os.getpid()}, nima {event.version}, step {event.first_step} of {event.total_steps}, "
                f"{event.parameters} parameters, {event.device} {event.dtype}, {event.compiled}, seed {event.seed}, "
                f"data {event.data}"
            )
        case EvalDone():
            best = ", best so far" if event.best else ""
            return (
                f"eval     step {event.step}: {event.split} loss {event.loss:.4f}, "
                f"{event.bits_per_byte:.4f} bits per byte, train loss {event.train_loss:.4f}{best}"
            )
        case Saved():
            return f"saved    step {event.step}: {event.path.name}, {event.bytes} bytes in {event.seconds:.2f} s"
        case Note():
            return f"{event.level:8} " + event.message.replace("\n", " ")
        case RolledBack():
            return f"back     to step {event.step}"
        case RunEnded():
            return f"ended    {event.reason} at step {event.step}"
        case _:
            return None
