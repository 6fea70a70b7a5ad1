"""Parquet rows become records as JSON has them."""

import datetime
import io
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.ingest.decoded_value import DecodedValue
from nima_cli.engine.data.ingest.formats.parquet import read_parquet

pyarrow: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")


def test_rows_with_lists_objects_and_times(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "a"}], "n": 1, "at": datetime.date(2024, 1, 2), "none": None},
        {"messages": [], "n": 2, "at": datetime.date(2024, 1, 3), "none": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=1)
    with (tmp_path / "x.parquet").open("rb") as stream:
        found = list(read_parquet(stream, "x"))
    assert found == [
        DecodedValue(
            "x (row 1)", {"messages": [{"role": "user", "content": "a"}], "n": 1, "at": "2024-01-02", "none": None}
        ),
        DecodedValue("x (row 2)", {"messages": [], "n": 2, "at": "2024-01-03", "none": None}),
    ]


def test_damaged_files() -> None:
    [found] = read_parquet(io.BytesIO(b"PAR1 and no more"), "x")
    assert isinstance(found, Diagnostic)
    assert found.reason == "damaged"
