"""Whoever prepares or trains hears of it when val and test stand in train; ordinary boilerplate is no news."""

from typing import Any

import pytest

from nima_cli.engine.data.leak_report import leak_warning


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
    said = leak_warning(metadata(val, test))
    assert said is None if begin is None else said is not None and said.startswith(begin)


def test_a_dataset_of_an_earlier_version_says_nothing() -> None:
    assert leak_warning({"splits": metadata(0, 0)["splits"]}) is None
    assert leak_warning({"splits": metadata(0, 0)["splits"], "leaks": {}}) is None
