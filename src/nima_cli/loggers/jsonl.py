"""`metrics.jsonl`, `samples.jsonl` and the report of a preparation: one strict JSON object a line."""

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
from nima_cli.files import atomic_write, explain, make_folder

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
    """The row of `metrics.jsonl` for an event, or None where it has none. Numbers may still be non-finite."""
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
    """The row of `samples.jsonl` for an event, or None where it has none."""
    return asdict(event) if isinstance(event, SampleDrawn) else None


class JsonlLogger:
    """Appends a row for each event that has one, written at once.

    A disk that is full for a while costs no row and no training: what cannot be written waits, and goes out with the
    next row for which there is room. What a failed write left behind is cut off, so that no line is ever half there
    with another after it.
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
        """Open `path` at the first event.

        Args:
            path: the file; its folder is made.
            keep_until_step: on resume, the step of the checkpoint: the file is cut before its first row of a later
                step. None for a new run: the file starts empty.
            history: the file to take the earlier rows from, where the run goes on in another folder; by default `path`.
            to_row: `metrics_row` or `samples_row`.
            tell: gets one sentence at the first row that has to wait.
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
            # Rows that wait are of later steps, or would be lost all the same.
            stream.close()
            self._waiting.clear()
            stream = self._open(self._path, event.step)
        row = self._to_row(event)
        if row is not None:
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
            self._write(self._stream)
        except OSError as error:
            raise explain(error, self._path, f"write the last {len(self._waiting)} rows") from error
        finally:
            with contextlib.suppress(OSError):
                self._stream.close()

    def _write(self, stream: FileIO) -> None:
        """Write all that waits, or nothing of it."""
        rest = memoryview(b"".join(self._waiting))
        if not rest:
            return
        size = len(rest)
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
        """Begin anew with the rows of `history` up to a step; None takes no row."""
        make_folder(self._path.parent)
        kept: Iterable[MetricsRow] = ()
        if keep_until_step is not None and history.exists():
            kept = until_step(read_metrics(history), keep_until_step)
        with atomic_write(self._path) as whole:
            whole.writelines(encode_row(row) for row in kept)
        try:
            self._stream = self._path.open("r+b", buffering=0)
            self._written = self._stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise explain(error, self._path, "write") from error
        return self._stream


def encode_row(row: Mapping[str, Any]) -> bytes:
    """One line of strict JSON: a number that is not finite becomes null and its field is listed in `non_finite`."""
    missing = [field for field, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    strict = {**row, **dict.fromkeys(missing), **({"non_finite": missing} if missing else {})}
    text = json.dumps(strict, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate has no UTF-8 form; its backslash form is the JSON escape for it.
    return text.encode("utf-8", "backslashreplace")


def until_step(rows: Iterable[MetricsRow], step: int) -> list[MetricsRow]:
    """The rows before the first one of a later step, with the notes and starts among them."""
    return list(itertools.takewhile(lambda row: row.get("step", 0) <= step, rows))


def read_metrics(path: Path) -> list[MetricsRow]:
    """The rows of a file that `JsonlLogger` wrote; a last line that a crash cut short is left out.

    Raises:
        DataError: the file cannot be read, or another line is not a JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise DataError(explain(error, path, "read").message) from error
    rows = [_parse(line) for line in lines]
    if rows and rows[-1] is None:
        rows.pop()
    for number, row in enumerate(rows, start=1):
        if row is None:
            hint = "the file was changed by something else than nima"
            raise DataError(f"{path}:{number}: not a JSON object", hint=hint)
    return [row for row in rows if row is not None]


def _parse(line: bytes) -> MetricsRow | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


class DropsLogger:
    """Writes what was left out of a dataset to a file that appears, whole, when the dataset is ready.

    Attributes:
        written: whether the file is there; where no new dataset was prepared it never is.

    Raises:
        ResourceError: the file cannot be written; when it is made, or on an event.
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
        """Give up what is not complete."""
        if not self.written:
            with contextlib.suppress(_NotReadyError), self._open:
                raise _NotReadyError


class _NotReadyError(Exception):
    """Leaves `atomic_write` without the file."""
