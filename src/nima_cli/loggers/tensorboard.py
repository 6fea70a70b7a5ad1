"""Event files for TensorBoard: scalars, text samples, the config and the hyper-parameters.

They use TensorBoard's record writer. Its event writers cannot make readers forget the steps that a resumed run repeats,
and the asynchronous one reports a full disk from its own thread, past any guard.
"""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from nima_cli.events import EvalDone, Event, RolledBack, RunStarted, SampleDrawn, StepDone
from nima_cli.files import make_folder
from nima_cli.loggers import dashboard_scalars

_NAME = "events.out.tfevents."
_STAMP = re.compile(re.escape(_NAME) + r"(\d{20})\.")


class TensorboardLogger:
    """Writes an event file into `tensorboard/` of the run, from the first event on."""

    def __init__(self, folder: Path, *, keep_until_step: int | None) -> None:
        """`keep_until_step` is the step of the checkpoint on resume: TensorBoard forgets the later ones."""
        self._folder = folder
        self._keep_until_step = keep_until_step
        self._writer: Any = None

    def __call__(self, event: Event, /) -> None:
        """Take one event; raises OSError or ResourceError if the file cannot be written."""
        if self._writer is None:
            self._open()
        match event:
            case RunStarted():
                config = json.loads(event.config_json)
                self._write_text(event.first_step - 1, "config", json.dumps(config, indent=2))
                if self._keep_until_step is None:  # only the first process, since they do not change
                    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

                    hparams = _flat({section: config.get(section, {}) for section in ("model", "training")})
                    self._put(summary=hparams_pb(hparams, trial_id=event.run_dir.name))
            case RolledBack():
                self._forget_after(event.step)
            case StepDone() | EvalDone():
                from tensorboard.compat.proto.summary_pb2 import Summary

                scalars = dashboard_scalars(event).items()
                values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
                self._put(step=event.step, summary=Summary(value=values))
            case SampleDrawn():
                self._write_text(event.step, f"samples/{event.prompt}", event.prompt + event.text)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        make_folder(self._folder)
        # TensorBoard reads files in the order of their names. This one must be last, even if the clock was set back.
        stamps = (_STAMP.match(path.name) for path in self._folder.iterdir())
        stamp = max([time.time_ns(), *(int(found[1]) + 1 for found in stamps if found)])
        path = self._folder / f"{_NAME}{stamp:020d}.{os.getpid()}"
        self._writer = RecordWriter(path.open("xb"))
        self._put(file_version="brain.Event:2")
        # In a new run, too: TensorBoard takes the first start for the beginning, and only later ones for restarts.
        self._forget_after(-1 if self._keep_until_step is None else self._keep_until_step)

    def _forget_after(self, step: int) -> None:
        """Make readers drop later steps, as `purge_step` of other writers does."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._put(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def _write_text(self, step: int, tag: str, text: str) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        # The text plugin shows Markdown; an indented block keeps the text as it is.
        block = "\n".join(f"    {line}" for line in text.split("\n"))
        self._put(step=step, summary=text_pb(tag, block.encode("utf-8", "backslashreplace")))

    def _put(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record

        self._writer.write(Record(wall_time=time.time(), **fields).SerializeToString())
        self._writer.flush()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """`section.key` -> value, as text where it is no number."""
    found: dict[str, bool | float | str] = {}
    for key, value in values.items():
        plain = {prefix + key: value if isinstance(value, int | float) else str(value)}
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else plain
    return found
