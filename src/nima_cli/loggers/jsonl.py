"""`metrics.jsonl` and `samples.jsonl`: one strict JSON object a line, each step once; knows nothing of drawing."""

import contextlib
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
    EvalDone,
    Event,
    Note,
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


def metrics_row(event: Event) -> MetricsRow | None:
    """The row of `metrics.jsonl` for an event, or None where it has none. Numbers may still be non-finite."""
    match event:
        case RunStarted():
            fields = asdict(event)
            del fields["run_dir"]
            fields.update(data=str(event.data), sources=dict(event.sources))
            fields["config"] = json.loads(fields.pop("config_json"))
            fields["tokens"] = fields.pop("train_tokens")
            return {"event": "run_started", **fields}
        case StepDone():
            return {"event": "step", **asdict(event), "perplexity": perplexity(event.loss)}
        case EvalDone():
            return {"event": "eval", **asdict(event), "perplexity": perplexity(event.loss)}
        case Saved():
            # The name alone: a run directory may be moved.
            return {"event": "saved", **asdict(event), "path": event.path.name}
        case Note():
            return {"event": "note", **asdict(event)}
        case RunEnded():
            return {"event": "run_ended", **asdict(event)}
        case _:
            return None


def samples_row(event: Event) -> MetricsRow | None:
    """The row of `samples.jsonl` for an event, or None where it has none."""
    return asdict(event) if isinstance(event, SampleDrawn) else None


class JsonlSink:
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
        """Take one event.

        Raises:
            ResourceError: the file cannot be made.
            DataError: the file to go on with is damaged.
        """
        row = self._to_row(event)
        if self._stream is None:
            self._open()
        if isinstance(event, RolledBack):
            self._forget_after(event.step)
        if row is not None:
            self._waiting.append(encode_row(row))
        problem = self._write() if self._waiting else None
        if problem is not None and not self._told:
            self._told = True
            self._tell(f"{explain(problem, self._path, 'write').message}; its rows wait until they can be written")

    def close(self) -> None:
        """Close the file.

        Raises:
            ResourceError: rows were waiting and still cannot be written.
        """
        if self._stream is None:
            return
        problem = self._write() if self._waiting else None
        with contextlib.suppress(OSError):
            self._stream.close()
        if problem is not None:
            raise explain(problem, self._path, f"write the last {len(self._waiting)} rows") from problem

    def _write(self) -> OSError | None:
        """Write all that waits, or nothing of it."""
        assert self._stream is not None
        data = b"".join(self._waiting)
        try:
            self._stream.seek(self._written)
            self._stream.truncate()
            view = memoryview(data)
            while view:
                view = view[self._stream.write(view) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._stream.truncate(self._written)
            return error
        self._written += len(data)
        self._waiting.clear()
        return None

    def _forget_after(self, step: int) -> None:
        """Begin anew with the rows up to `step`; those that wait are of later steps, or would be lost all the same."""
        assert self._stream is not None
        self._stream.close()
        self._waiting.clear()
        self._keep_until_step = step
        self._open()

    def _open(self) -> None:
        make_folder(self._path.parent)
        kept: Iterable[MetricsRow] = ()
        if self._keep_until_step is not None and self._history.exists():
            kept = until_step(read_metrics(self._history), self._keep_until_step)
        self._history = self._path
        with atomic_write(self._path) as stream:
            stream.writelines(encode_row(row) for row in kept)
        try:
            self._stream = self._path.open("r+b", buffering=0)
            self._written = self._stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise explain(error, self._path, "write") from error


def encode_row(row: Mapping[str, Any]) -> bytes:
    """One line of strict JSON: a number that is not finite becomes null and its field is listed in `non_finite`."""
    missing = [field for field, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    strict = {**row, **dict.fromkeys(missing), **({"non_finite": missing} if missing else {})}
    text = json.dumps(strict, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate has no UTF-8 form; its backslash form is the JSON escape for it.
    return text.encode("utf-8", "backslashreplace")


def until_step(rows: Iterable[MetricsRow], step: int) -> list[MetricsRow]:
    """The rows before the first one of a later step, with the notes and starts among them."""
    kept = []
    for row in rows:
        if row.get("step", 0) > step:
            break
        kept.append(row)
    return kept


def read_metrics(path: Path) -> list[MetricsRow]:
    """The rows of a file that `JsonlSink` wrote; a last line that a crash cut short is left out.

    Raises:
        DataError: the file cannot be read, or another line is not a JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(explain(error, path, "read").message) from error
    rows = []
    for number, line in enumerate(lines[:-1], start=1):
        row = _parse(line)
        if row is None and number == len(lines) - 1:
            break
        if row is None:
            raise DataError(
                f"{path}:{number}: not a JSON object", hint="the file was changed by something else than nima"
            )
        rows.append(row)
    return rows


def _parse(line: bytes) -> MetricsRow | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
