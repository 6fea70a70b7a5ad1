"""Result tables as plain text."""

from typing import Any

import pytest

from nima_cli.ui.console import out
from nima_cli.ui.tables import dataset_table, eval_table, plan_table


def printed(table: Any, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line; cells are at least two blanks apart."""
    out().print(table)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]


def test_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    result = {
        "split": "test", "loss": 2.5, "perplexity": 12.18, "bits_per_byte": 0.86, "accuracy": 0.41, "tokens": 200_000,
    }  # fmt: skip
    assert printed(eval_table(result), capsys) == [
        ["test split"],
        ["loss (nats per token)", "2.500"],
        ["perplexity", "12.18"],
        ["bits per byte", "0.860"],
        ["next-token accuracy", "41.0%"],
        ["tokens evaluated", "200,000"],
    ]
    assert printed(eval_table({"split": "val", "loss": 1.0, "accuracy": None}), capsys)[1:] == [
        ["loss (nats per token)", "1.000"]
    ]


def test_a_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"documents": 10, "samples": 2000, "tokens": 123456, "characters": 500000, "bytes": 500100}
    source = {"name": "k8s [/b]\x1b", "format": "markdown", "weight": 1.5, "documents": 12, "kept": 10}
    metadata = {
        "tokenizer": {"type": "bpe", "vocab_size": 8192},
        "splits": {"train": counts},
        "sources": [{**source, "dropped": {"too short": 2, "empty": 0}}, {**source, "name": "b", "dropped": {}}],
    }
    assert printed(dataset_table(metadata), capsys) == [
        ["tokenizer bpe", "vocabulary 8,192"],
        ["split", "documents", "samples", "tokens", "characters", "bytes"],
        ["train", "10", "2,000", "123,456", "500,000", "500,100"],
        ["source", "weight", "documents", "kept", "format", "dropped"],
        ["k8s [/b]\\x1b", "1.5", "12", "10", "markdown", "2 (too short 2)"],
        ["b", "1.5", "12", "10", "markdown", "0"],
    ]


def test_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("parameters", "4.6M", ""), ("memory", "1.2 GB", "fits in 16 GB")]
    assert printed(plan_table(rows), capsys) == [["parameters", "4.6M"], ["memory", "1.2 GB", "fits in 16 GB"]]


def test_a_wide_table_is_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "docs/" + "x" * 100
    assert printed(plan_table([("data", path, "fresh")]), capsys) == [["data", path, "fresh"]]
