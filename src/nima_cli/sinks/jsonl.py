"""`metrics.jsonl` and `samples.jsonl`: one strict JSON object a line, each step once; knows nothing of drawing."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from nima_cli.errors import DataError
from nima_cli.events import (
    EvalDone,
    Event,
    Note,
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
    """Appends a row for each event that has one, flushed at once."""

    def __init__(
        self,
        path: Path,
        *,
        keep_until_step: int | None,
        to_row: Callable[[Event], MetricsRow | None] = metrics_row,
    ) -> None:
        """Open `path` at the first event.

        Args:
            path: the file; its folder is made.
            keep_until_step: on resume, the step of the checkpoint: the file is cut before its first row of a later
                step. None for a new run: the file starts empty.
            to_row: `metrics_row` or `samples_row`.
        """
        self._path = path
        self._keep_until_step = keep_until_step
        self._to_row = to_row
        self._stream: IO[bytes] | None = None

    def __call__(self, event: Event, /) -> None:
        """Take one event.

        Raises:
            ResourceError: the row cannot be written.
            DataError: the file to go on with is damaged.
        """
        row = self._to_row(event)
        if self._stream is None:
            self._stream = self._open()
        if row is not None:
            try:
                self._stream.write(encode_row(row))
                self._stream.flush()
            except OSError as error:
                raise explain(error, self._path, "write") from error

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _open(self) -> IO[bytes]:
        make_folder(self._path.parent)
        kept: Iterable[MetricsRow] = ()
        if self._keep_until_step is not None and self._path.exists():
            kept = until_step(read_metrics(self._path), self._keep_until_step)
        with atomic_write(self._path) as stream:
            stream.writelines(encode_row(row) for row in kept)
        try:
            return self._path.open("ab")
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
