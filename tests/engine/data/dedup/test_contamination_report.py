"""Whoever prepares or trains hears of it when val and test stand in train; ordinary boilerplate is no news."""

from pathlib import Path
from typing import Any

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.dedup.contamination_report import contamination_warning
from nima_cli.engine.data.prepare import prepare
from nima_cli.events import Note


def metadata(val: int, test: int) -> dict[str, Any]:
    splits = {name: {"tokens": 1000} for name in ("train", "val", "test")}
    return {"splits": splits, "leaks": {"run_tokens": 50, "val": {"tokens": val}, "test": {"tokens": test}}}


@pytest.mark.parametrize(
    ("val", "test", "begin"),
    [
        (970, 990, "97% of the tokens of val and 99% of the tokens of test also stand in train"),
        (10, 300, "30% of the tokens of test also stand in train"),
        (120, 60, None),
    ],
)
def test_massive_leaks_are_said(val: int, test: int, begin: str | None) -> None:
    said = contamination_warning(metadata(val, test))
    assert said is None if begin is None else said is not None and said.startswith(begin)


def test_a_dataset_of_an_earlier_version_says_nothing() -> None:
    assert contamination_warning({"splits": metadata(0, 0)["splits"]}) is None
    assert contamination_warning({"splits": metadata(0, 0)["splits"], "leaks": {}}) is None


@pytest.mark.parametrize("alike", [True, False])
def test_a_preparation_says_when_its_splits_share_much(tmp_path: Path, alike: bool) -> None:
    for number in range(12):
        words = " ".join(f"w{place * (1 if alike else number + 3) * 7919 % 9973}" for place in range(150))
        (tmp_path / f"{number}.txt").write_text(words, "utf-8")
    data = DataConfig(sources=[SourceConfig(path=str(tmp_path))], tokenizer="char", dedupe="off")
    notes = [event for event in prepare(data, tmp_path / "out", overwrite=False, workers=1) if isinstance(event, Note)]
    found = [note for note in notes if "also stand in train" in note.message]
    assert [note.level for note in found] == (["warning"] if alike else [])
