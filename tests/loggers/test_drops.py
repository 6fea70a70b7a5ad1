"""The file of dropped documents is there, whole, when a dataset is; and never without one."""

import json
from pathlib import Path

import pytest

from nima_cli.errors import ResourceError
from nima_cli.events import DatasetReady, Dropped, Progress
from nima_cli.loggers.drops import DropsSink

DROP = Dropped("docs", "docs/ä.md", "too_short", (("characters", 3.0),))


def test_the_file_appears_when_the_dataset_is_ready(tmp_path: Path) -> None:
    sink = DropsSink(tmp_path / "r.jsonl")
    sink(Progress("read", 1, 1, "bytes"))
    sink(DROP)
    assert not (tmp_path / "r.jsonl").exists()
    sink(DatasetReady(tmp_path, 1, 1, 1, 1))
    sink.close()
    assert sink.written
    row = {"source": "docs", "where": "docs/ä.md", "reason": "too_short", "figures": {"characters": 3.0}}
    assert [json.loads(line) for line in (tmp_path / "r.jsonl").read_text("utf-8").splitlines()] == [row]


@pytest.mark.parametrize("prepared", [True, False])
def test_without_a_new_dataset_an_old_file_stays(tmp_path: Path, prepared: bool) -> None:
    (tmp_path / "r.jsonl").write_text("old")
    sink = DropsSink(tmp_path / "r.jsonl")
    sink(DROP)
    sink(Progress("read", 1, 1, "bytes") if prepared else DatasetReady(tmp_path, 1, 1, 1, 1))
    sink.close()
    assert not sink.written
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]
    assert (tmp_path / "r.jsonl").read_text() == "old"


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ResourceError):
        DropsSink(tmp_path / "missing" / "r.jsonl")
