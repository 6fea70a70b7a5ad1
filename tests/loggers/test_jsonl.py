"""`metrics.jsonl` and `samples.jsonl`: strict rows, whole after a crash, each step once after a resume."""

import json
import math
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nima_cli.errors import DataError, ResourceError
from nima_cli.events import DatasetReady, Dropped, Event, Progress, RolledBack
from nima_cli.loggers.jsonl import DropsLogger, JsonlLogger, read_metrics, samples_row
from tests import recorded_run as run

STEP_FIELDS = {
    "step", "epoch", "tokens", "loss", "perplexity", "learning_rate", "grad_norm", "tokens_per_second",
    "train_seconds", "elapsed_seconds", "skipped_steps",
}  # fmt: skip
EVAL_FIELDS = {
    "step", "split", "loss", "perplexity", "bits_per_byte", "accuracy", "tokens", "train_seconds", "elapsed_seconds",
    "best", "train_loss",
}  # fmt: skip


def write(path: Path, events: Iterable[Event], *, keep_until_step: int | None = None) -> None:
    logger = JsonlLogger(path, keep_until_step=keep_until_step)
    for event in events:
        logger(event)
    logger.close()


def strict(line: str) -> Any:
    """Parse a line as JSON proper, where NaN and Infinity do not exist."""

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_the_rows_and_fields_are_those_of_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    write(path, run.whole_run(tmp_path / "run", steps=60))
    rows = [strict(line) for line in path.read_text("utf-8").splitlines()]
    by_event = {row["event"]: set(row) - {"event"} for row in rows}
    assert {"version", "config", "parameters", "tokens", "device", "dtype", "seed"} <= by_event["run_started"]
    assert by_event["step"] == STEP_FIELDS
    assert by_event["eval"] == EVAL_FIELDS
    assert by_event["saved"] == {"step", "path", "bytes", "seconds"}
    assert by_event["note"] == {"level", "message"}
    assert by_event["run_ended"] == {"reason", "step", "best_loss", "best_step"}
    assert rows[0]["config"] == run.CONFIG
    assert rows[1]["perplexity"] == pytest.approx(math.exp(rows[1]["loss"]))
    assert read_metrics(path) == rows


def test_a_saved_checkpoint_is_named_without_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", run.whole_run(tmp_path, steps=20))
    assert str(tmp_path) not in (tmp_path / "m.jsonl").read_text("utf-8")


def test_numbers_that_are_not_finite_become_null_and_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, [run.step(1, math.nan), run.evaluation(1, 5000.0), run.ended(1, "diverged", best_loss=math.inf)])
    rows = [strict(line) for line in path.read_text("utf-8").splitlines()]
    assert [(row["event"], row["non_finite"]) for row in rows] == [
        ("step", ["loss", "perplexity"]),
        ("eval", ["perplexity"]),
        ("run_ended", ["best_loss"]),
    ]
    assert rows[0]["loss"] is None
    assert "non_finite" not in strict(path.read_text("utf-8").splitlines()[1].replace('"non_finite"', '"x"'))


def test_each_row_is_on_disk_at_once(tmp_path: Path) -> None:
    logger = JsonlLogger(tmp_path / "m.jsonl", keep_until_step=None)
    logger(run.step(1))
    assert [row["step"] for row in read_metrics(tmp_path / "m.jsonl")] == [1]
    logger.close()


def test_preparation_leaves_no_row(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", [Progress("read", 1, 2, "files"), DatasetReady(tmp_path, 1, 2, 3, 4)])
    assert read_metrics(tmp_path / "m.jsonl") == []


def test_after_a_resume_each_step_appears_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, run.whole_run())
    again: list[Event] = [
        run.started(first_step=51),
        *(run.step(number) for number in range(60, 101, 10)),
        run.ended(100),
    ]
    write(path, again, keep_until_step=50)
    rows = read_metrics(path)
    assert [row["step"] for row in rows if row["event"] == "step"] == list(range(10, 101, 10))
    assert [row["step"] for row in rows if row["event"] == "eval"] == [20, 40]
    assert [row["event"] for row in rows].count("run_started") == 2
    assert [row["event"] for row in rows].count("run_ended") == 1
    assert [row["message"] for row in rows if row["event"] == "note"] == ["half of the run is over"]


def test_a_second_resume_from_further_back_forgets_the_first(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, [run.started(), run.step(10), run.step(20), run.step(30)])
    write(path, [run.started(first_step=21), run.step(30)], keep_until_step=20)
    write(path, [run.started(first_step=11), run.step(20)], keep_until_step=10)
    assert [(row["event"], row.get("step")) for row in read_metrics(path)] == [
        ("run_started", None), ("step", 10), ("run_started", None), ("step", 20),
    ]  # fmt: skip


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", [run.step(1), run.step(2)])
    write(tmp_path / "m.jsonl", [run.step(1)])
    assert [row["step"] for row in read_metrics(tmp_path / "m.jsonl")] == [1]


def test_a_last_line_that_a_crash_cut_is_left_out_at_any_length(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write(path, [run.step(1), run.step(2)])
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for length in range(first, len(data)):
        path.write_bytes(data[:length])
        assert [row["step"] for row in read_metrics(path)] == [1]
    path.write_bytes(data[: first + 9] + b"\0\0\0\n")
    assert [row["step"] for row in read_metrics(path)] == [1]
    write(path, [run.step(2)], keep_until_step=1)
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_damage_elsewhere_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"event": "step"}\n[1]\n{"event": "step"}\n')
    with pytest.raises(DataError, match=r"m\.jsonl:2: not a JSON object"):
        read_metrics(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_metrics(tmp_path / "none.jsonl")


def test_a_folder_in_the_way_is_an_error_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").mkdir()
    with pytest.raises(ResourceError, match=r"m\.jsonl"):
        write(tmp_path / "m.jsonl", [run.step(1)])


def test_samples_are_kept_exactly(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    text = "é 日本 🙂\n\tcode\x1b[0m\u2028 \ud800"
    logger = JsonlLogger(path, keep_until_step=None, to_row=samples_row)
    for event in (run.step(1), run.sample(1, text), run.sample(2)):
        logger(event)
    logger.close()
    rows = read_metrics(path)
    assert [(row["step"], row["prompt"]) for row in rows] == [(1, "The module"), (2, "The module")]
    assert rows[0]["text"] == text
    assert path.read_bytes().count(b"\n") == 2
    assert "日本 🙂" in path.read_text("utf-8")


def test_what_a_full_disk_refuses_is_written_when_there_is_room(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files, which POSIX systems can")
    path = tmp_path / "metrics.jsonl"
    heard: list[str] = []
    logger = JsonlLogger(path, keep_until_step=None, tell=heard.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        logger(run.step(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
        for number in (2, 3, 4):  # the first fits in part
            logger(run.step(number))
        assert [row["step"] for row in read_metrics(path)] == [1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        logger(run.step(5))
        assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4, 5]
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
        logger(run.step(6))
        with pytest.raises(ResourceError, match="cannot write the last 1 rows"):
            logger.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert len(heard) == 1
    assert str(path) in heard[0]
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4, 5]


def test_a_run_that_went_back_tells_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    before: list[Event] = [run.step(1, 5.0), run.step(2, 4.0), run.step(3, 9.0), run.evaluation(3)]
    write(path, [run.started(), *before, RolledBack(2), run.step(3, 3.5), run.step(4, 3.0)])
    steps = [(row["step"], row["loss"]) for row in read_metrics(path) if row["event"] == "step"]
    assert steps == [(1, 5.0), (2, 4.0), (3, 3.5), (4, 3.0)]
    assert not [row for row in read_metrics(path) if row["event"] == "eval"]


DROP = Dropped("docs", "docs/ä.md", "too_short", (("characters", 3.0),))


def test_the_file_appears_when_the_dataset_is_ready(tmp_path: Path) -> None:
    logger = DropsLogger(tmp_path / "r.jsonl")
    logger(Progress("read", 1, 1, "bytes"))
    logger(DROP)
    assert not (tmp_path / "r.jsonl").exists()
    logger(DatasetReady(tmp_path, 1, 1, 1, 1))
    logger.close()
    assert logger.written
    row = {"source": "docs", "where": "docs/ä.md", "reason": "too_short", "figures": {"characters": 3.0}}
    assert [json.loads(line) for line in (tmp_path / "r.jsonl").read_text("utf-8").splitlines()] == [row]


@pytest.mark.parametrize("prepared", [True, False])
def test_without_a_new_dataset_an_old_file_stays(tmp_path: Path, prepared: bool) -> None:
    (tmp_path / "r.jsonl").write_text("old")
    logger = DropsLogger(tmp_path / "r.jsonl")
    logger(DROP)
    logger(Progress("read", 1, 1, "bytes") if prepared else DatasetReady(tmp_path, 1, 1, 1, 1))
    logger.close()
    assert not logger.written
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]
    assert (tmp_path / "r.jsonl").read_text() == "old"


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ResourceError):
        DropsLogger(tmp_path / "missing" / "r.jsonl")
