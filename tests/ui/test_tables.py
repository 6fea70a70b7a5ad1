"""Result tables as plain text."""

from typing import Any

import pytest

from nima_cli.ui.console import out
from nima_cli.ui.tables import table


def printed(table: Any, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line; cells are at least two blanks apart."""
    out().print(table)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]


def test_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("parameters", "4.6M", ""), ("memory", "1.2 GB", "fits in 16 GB")]
    assert printed(table(("", "", ""), rows), capsys) == [["parameters", "4.6M"], ["memory", "1.2 GB", "fits in 16 GB"]]


def test_a_wide_table_is_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    path = "docs/" + "x" * 100
    assert printed(table(("", "", ""), [("data", path, "fresh")]), capsys) == [["data", path, "fresh"]]
