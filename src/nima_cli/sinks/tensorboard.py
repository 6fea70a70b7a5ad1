"""Event files for TensorBoard; knows nothing of torch, and of TensorBoard only its file format."""

import json
import os
import time
from pathlib import Path
from typing import Any

from nima_cli.events import EvalDone, Event, RunStarted, SampleDrawn, StepDone
from nima_cli.files import make_folder
from nima_cli.sinks.scalars import eval_scalars, step_scalars


class TensorboardSink:
    """Scalars of steps and evaluations, text samples and the config.

    Records are written by TensorBoard's own record writer straight to the file: its asynchronous writer would report a
    full disk from a thread of its own, past any guard, and would import TensorFlow where that is installed.
    """

    def __init__(self, folder: Path, *, keep_until_step: int | None) -> None:
        """Open an event file in `folder` at the first event.

        Args:
            folder: the `tensorboard/` of the run.
            keep_until_step: on resume, the step of the checkpoint; TensorBoard then forgets what earlier files say of
                later steps. None for a new run.
        """
        self._folder = folder
        self._keep_until_step = keep_until_step
        self._writer: Any = None

    def __call__(self, event: Event, /) -> None:
        """Take one event; raises OSError when the file cannot be written, ResourceError when it cannot be made."""
        if self._writer is None:
            self._open()
        match event:
            case RunStarted():
                config = json.dumps(json.loads(event.config_json), indent=2)
                self._write(event.first_step - 1, texts={"config": config})
            case StepDone():
                self._write(event.step, scalars=step_scalars(event))
            case EvalDone():
                self._write(event.step, scalars=eval_scalars(event))
            case SampleDrawn():
                self._write(event.step, texts={f"samples/{event.prompt}": event.prompt + event.text})

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        make_folder(self._folder)
        # TensorBoard reads the files of a folder in the order of their names, so time comes first.
        path = self._folder / f"events.out.tfevents.{time.time_ns():020d}.{os.getpid()}"
        self._writer = RecordWriter(path.open("xb"))
        self._put(Record(wall_time=time.time(), file_version="brain.Event:2"))
        if self._keep_until_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._put(Record(wall_time=time.time(), step=self._keep_until_step + 1, session_log=start))

    def _write(self, step: int, scalars: dict[str, float] | None = None, texts: dict[str, str] | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in (scalars or {}).items()]
        values += [_text_value(tag, text) for tag, text in (texts or {}).items()]
        self._put(Record(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _put(self, record: Any) -> None:
        self._writer.write(record.SerializeToString())
        self._writer.flush()


def _text_value(tag: str, text: str) -> Any:
    """A value of TensorBoard's text plugin, which shows Markdown: an indented block keeps the text as it is."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    block = "\n".join(f"    {line}" for line in text.split("\n"))
    tensor = TensorProto(dtype=DT_STRING, string_val=[block.encode("utf-8", "backslashreplace")])
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
