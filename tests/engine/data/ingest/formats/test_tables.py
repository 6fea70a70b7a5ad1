"""CSV, TSV and Parquet become records; every fault of a row has its line."""

import datetime
import io
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.ingest.encoding import DecodedValue
from nima_cli.engine.data.ingest.formats.tables import read_delimited, read_parquet


def read(text: str, suffix: str = ".csv") -> list[DecodedValue | Diagnostic]:
    return list(read_delimited(io.BytesIO(text.encode()), "x.csv", suffix))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_dialects(delimiter: str, end: str) -> None:
    lines = ["\ufeffquestion,answer,n", '"a, b;\t|c","said ""x""\ny",', "", "short"]
    text = end.join(line.replace(",", delimiter) if line[0:1] != '"' else line for line in lines)
    text = text.replace('","', f'"{delimiter}"').replace('",\n', f'"{delimiter}\n').replace('",\r', f'"{delimiter}\r')
    text = text.replace('y",', f'y"{delimiter}')
    first, second = read(text)
    assert first == DecodedValue("x.csv:2", {"question": "a, b;\t|c", "answer": 'said "x"\ny', "n": ""})
    assert second == DecodedValue("x.csv:5", {"question": "short", "answer": "", "n": ""})


def test_tabs_by_the_suffix() -> None:
    assert read("a, b; c\ttext\n1\t2\n", ".tsv") == [DecodedValue("x.csv:2", {"a, b; c": "1", "text": "2"})]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2,3\n", "x.csv:2: has 3 columns, and the first row names 2"),
        ('a,b\n"1,2\n3,4\n', "x.csv:2: a quote that opens here is never closed"),
        ('a,b\n"1"x,2\n', "x.csv:2: more after the quote that ends a field"),
        ("a,a\n1,2\n", "x.csv:1: two columns are called `a`"),
        ("a,b\n\n1,\0\n", "x.csv: looks binary (NUL at byte 7)"),
        ("a,b\nx\ry,2\n", "x.csv:2: a carriage return inside of a field that is not quoted"),
        ("a,b\rx,2\r", "x.csv:1: a carriage return inside of a field that is not quoted"),
    ],
)
def test_faults_have_their_line(text: str, problem: str) -> None:
    [found] = read(text)
    assert isinstance(found, Diagnostic)
    assert str(found) == problem


def test_one_bad_row_does_not_hide_the_others() -> None:
    found = read('a,b\n"1"x,2\n3,4\n')
    assert [type(one) for one in found] == [Diagnostic, DecodedValue]
    assert found[1] == DecodedValue("x.csv:3", {"a": "3", "b": "4"})


def test_nothing_in_it() -> None:
    assert read("") == read("\n\n") == read("a,b\n") == []


def test_large_fields_and_lines() -> None:
    [one] = read(f"a,b\n{'x' * 300_000},2\n")
    assert isinstance(one, DecodedValue)
    [problem] = read("a,b\n" + "x" * (17 * 2**20))
    assert isinstance(problem, Diagnostic)
    assert problem.reason == "too_large"


def test_rows_with_lists_objects_and_times(tmp_path: Path) -> None:
    pyarrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
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


def test_damaged_parquet_files() -> None:
    pytest.importorskip("pyarrow")
    [found] = read_parquet(io.BytesIO(b"PAR1 and no more"), "x")
    assert isinstance(found, Diagnostic)
    assert found.reason == "damaged"
