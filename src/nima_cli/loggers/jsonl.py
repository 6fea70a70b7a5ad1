"""`metrics.jsonl`, `samples.jsonl` and the report of a preparation: a strict JSON object per line."""

import contextlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

from nima_cli.errors import DataError
from nima_cli.events import (
    DatasetReady,
    Dropped,
    EvalDone,
    Event,
    Note,
    Progress,
    RolledBack,
    RunEnded,
    RunStarted,
    SampleDrawn,
    Saved,
    StepDone,
    perplexity,
)
from nima_cli.files import atomic_write, explain, explaining, make_folder

MetricsRow = dict[str, Any]
_NAMES = {
    RunStarted: "run_started",
    StepDone: "step",
    EvalDone: "eval",
    Saved: "saved",
    Note: "note",
    RunEnded: "run_ended",
}


def metrics_row(event: Event) -> MetricsRow | None:
    """The row of `metrics.jsonl` for an event, if it has one; numbers may still be non-finite."""
    if type(event) not in _NAMES:
        return None
    row = {"event": _NAMES[type(event)], **asdict(event)}
    match event:
        case RunStarted():
            del row["run_dir"]
            row.update(data=str(event.data), sources=dict(event.sources))
            row["config"] = json.loads(row.pop("config_json"))
            row["tokens"] = row.pop("train_tokens")
        case StepDone() | EvalDone():
            row["perplexity"] = perplexity(event.loss)
        case Saved():
            row["path"] = event.path.name  # the name alone: a run directory may be moved
    return row


def samples_row(event: Event) -> MetricsRow | None:
    """The row of `samples.jsonl` for an event, if it has one."""
    return asdict(event) if isinstance(event, SampleDrawn) else None


class JsonlLogger:
    """Appends a row for each event that has one, at once.

    While the disk is full, rows wait for the next write. A failed write is cut off, so that no line is ever half
    written.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_until_step: int | None,
        history: Path | None = None,
        to_row: Callable[[Event], MetricsRow | None] = metrics_row,
        tell: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Open `path` at the first event, and make its folder.

        Args:
            keep_until_step: on resume, the step of the checkpoint: later rows are cut. None starts with an empty file.
            history: the file with the earlier rows, if not `path`.
            to_row: `metrics_row` or `samples_row`.
            tell: gets one sentence when a row has to wait for the first time.
        """
        self._path = path
        self._keep_until_step = keep_until_step
        self._history = history or path
        self._to_row = to_row
        self._tell = tell
        self._stream: FileIO | None = None
        self._written = 0
        self._waiting: list[bytes] = []
        self._told = False

    def __call__(self, event: Event, /) -> None:
        """Take one event; raises ResourceError if the file cannot be made, DataError if it is damaged."""
        stream = self._stream or self._open(self._history, self._keep_until_step)
        if isinstance(event, RolledBack):
            # Rows that wait are of later steps.
            stream.close()
            self._waiting.clear()
            stream = self._open(self._path, event.step)
        if (row := self._to_row(event)) is not None:
            self._waiting.append(encode_row(row))
        try:
            self._write(stream)
        except OSError as error:
            if not self._told:
                self._told = True
                self._tell(f"{explain(error, self._path, 'write').message}; its rows wait until they can be written")

    def close(self) -> None:
        """Close the file; raises ResourceError if rows were waiting and still cannot be written."""
        if self._stream is None:
            return
        try:
            with explaining(self._path, f"write the last {len(self._waiting)} rows"):
                self._write(self._stream)
        finally:
            with contextlib.suppress(OSError):
                self._stream.close()

    def _write(self, stream: FileIO) -> None:
        """Write all rows that wait, or none of them."""
        rest = memoryview(b"".join(self._waiting))
        size = len(rest)
        if not size:
            return
        try:
            stream.seek(self._written)
            stream.truncate()
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                stream.truncate(self._written)
            raise
        self._written += size
        self._waiting.clear()

    def _open(self, history: Path, keep_until_step: int | None) -> FileIO:
        """Begin with the rows of `history` up to a step; None takes no row."""
        make_folder(self._path.parent)
        kept: Iterable[MetricsRow] = ()
        if keep_until_step is not None and history.exists():
            kept = until_step(read_metrics(history), keep_until_step)
        with atomic_write(self._path) as whole:
            whole.writelines(encode_row(row) for row in kept)
        with explaining(self._path, "write"):
            self._stream = self._path.open("r+b", buffering=0)
            self._written = self._stream.seek(0, os.SEEK_END)
        return self._stream


def encode_row(row: Mapping[str, Any]) -> bytes:
    """One line of strict JSON; numbers that are not finite become null, and `non_finite` lists their fields."""
    missing = [field for field, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    strict = {**row, **dict.fromkeys(missing), **({"non_finite": missing} if missing else {})}
    text = json.dumps(strict, ensure_ascii=False, allow_nan=False) + "\n"
    # The backslash form of a lone surrogate is its JSON escape.
    return text.encode("utf-8", "backslashreplace")


def until_step(rows: Iterable[MetricsRow], step: int) -> list[MetricsRow]:
    """The rows before the first one of a later step."""
    return list(itertools.takewhile(lambda row: row.get("step", 0) <= step, rows))


def read_metrics(path: Path) -> list[MetricsRow]:
    """The rows of a file that `JsonlLogger` wrote, without a last line that a crash cut short.

    Raises:
        DataError: the file cannot be read, or another line is not a JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise DataError(explain(error, path, "read").message) from error
    rows: list[MetricsRow] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(lines):
            raise DataError(f"{path}:{number}: not a JSON object", hint="something other than nima changed the file")
    return rows


class DropsLogger:
    """Writes what was left out of a new dataset; the file appears, whole, when the dataset is ready.

    `written` says whether the file is there. Constructor and events raise ResourceError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.written = False
        self._open = contextlib.ExitStack()
        self._stream = self._open.enter_context(atomic_write(path))
        self._prepared = False

    def __call__(self, event: Event, /) -> None:
        match event:
            case Dropped():
                self._stream.write(encode_row({**asdict(event), "figures": dict(event.figures)}))
            case Progress():
                self._prepared = True
            case DatasetReady() if self._prepared:
                self._open.close()
                self.written = True

    def close(self) -> None:
        """Discard an incomplete file."""
        if not self.written:
            with contextlib.suppress(LookupError), self._open:
                raise LookupError("no dataset is ready")  # leaves `atomic_write` without a file
