"""Event files for TensorBoard; knows nothing of torch, and of TensorBoard only its file format."""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nima_cli.events import EvalDone, Event, RolledBack, RunStarted, SampleDrawn, StepDone
from nima_cli.files import make_folder
from nima_cli.loggers.scalars import eval_scalars, step_scalars

_NAME = "events.out.tfevents."
_STAMP = re.compile(re.escape(_NAME) + r"(\d{20})\.")


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
                self._write_hyper_parameters(event)
            case RolledBack():
                self._forget_after(event.step)
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
        from tensorboard.summary.writer.record_writer import RecordWriter

        make_folder(self._folder)
        # TensorBoard reads the files of a folder in the order of their names, so time comes first; and this one must be
        # the last, even if the clock was set back since.
        stamps = (_STAMP.match(path.name) for path in self._folder.iterdir())
        stamp = max([time.time_ns(), *(int(found[1]) + 1 for found in stamps if found)])
        path = self._folder / f"{_NAME}{stamp:020d}.{os.getpid()}"
        self._writer = RecordWriter(path.open("xb"))
        self._put(Record(wall_time=time.time(), file_version="brain.Event:2"))
        # In a new run, too: the pages take the first start that they see for the beginning, and only later ones for
        # a restart.
        self._forget_after(-1 if self._keep_until_step is None else self._keep_until_step)

    def _forget_after(self, step: int) -> None:
        """Make readers drop what they know of later steps: what other writers call `purge_step`."""
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._put(Record(wall_time=time.time(), step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def _write_hyper_parameters(self, event: RunStarted) -> None:
        """Flat settings for the HParams tab; a run's first process writes them, for they do not change."""
        if self._keep_until_step is None:
            from tensorboard.compat.proto.event_pb2 import Event as Record
            from tensorboard.compat.proto.summary_pb2 import Summary

            value = _hyper_parameters(json.loads(event.config_json), name=event.run_dir.name)
            self._put(Record(wall_time=time.time(), summary=Summary(value=[value])))

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


def _hyper_parameters(config: dict[str, Any], *, name: str) -> Any:
    """The value by which TensorBoard's HParams plugin knows a run: `section.key` to a number, a truth or a text."""
    from google.protobuf.struct_pb2 import Value
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.metadata import PLUGIN_NAME, SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in _flat(config):
        if isinstance(value, bool):
            info.hparams[key].CopyFrom(Value(bool_value=value))
        elif isinstance(value, int | float):
            info.hparams[key].CopyFrom(Value(number_value=value))
        else:
            info.hparams[key].CopyFrom(Value(string_value=str(value)))
    content = HParamsPluginData(version=0, session_start_info=info).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content)
    return Summary.Value(tag=SESSION_START_INFO_TAG, metadata=SummaryMetadata(plugin_data=plugin))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif prefix.startswith(("model.", "training.")):
            yield prefix + key, value
