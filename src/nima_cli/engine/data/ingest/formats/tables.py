"""Reads records from CSV, TSV and Parquet files."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import IO, Any

from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError, printable
from nima_cli.engine.data.ingest.encoding import MAX_RECORD_BYTES, TOO_LARGE, DecodedValue, text_blocks
from nima_cli.engine.data.ingest.formats.registry import first_line, library

_DELIMITERS = ",;\t|"
# Part of the message of `csv` -> what is wrong, the reason, a hint.
_CSV_ERRORS = {
    "unexpected end": ("a quote that opens here is never closed", "malformed", 'double it inside of a field: `""`'),
    "field larger": (TOO_LARGE.replace("record", "field"), "too_large", "is a quote that opens here never closed?"),
    "expected after": ("more after the quote that ends a field", "malformed", 'double quotes inside of a field: `""`'),
    "new-line character": ("a carriage return inside of a field that is not quoted", "malformed", None),
}
# Characters of the first row that tell the delimiter.
_SAMPLE = 2**16
# Rows of a Parquet file in memory.
_BATCH = 1024


def read_delimited(stream: io.BufferedIOBase, name: str, suffix: str) -> Iterator[DecodedValue | Diagnostic]:
    """Yield a record, column name -> text, for every row of UTF-8 but the first, which names the columns.

    After the suffix `.tsv` tabs divide them, else the delimiter that splits the first row into most columns.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)
    lines = _lines(stream)
    try:
        first = next((line for line in lines if line.strip()), "")
        # A lone carriage return, which the records report, is an error for `csv`.
        sample = first[:_SAMPLE].replace("\r", "")
        columns = {delimiter: len(next(csv.reader([sample], delimiter=delimiter))) for delimiter in _DELIMITERS}
        delimiter = "\t" if suffix == ".tsv" else max(columns, key=columns.__getitem__)
        # A column name may go on over several lines.
        yield from _records(csv.reader(chain([first] if first else [], lines), delimiter=delimiter, strict=True), name)
    except UnusableError as error:
        yield error.at(name)


def _lines(stream: io.BufferedIOBase) -> Iterator[str]:
    """Yield lines with their ends, LF or CR LF."""
    rest = ""
    for block in text_blocks(stream):
        *whole, rest = (rest + block).split("\n")
        yield from (f"{line}\n" for line in whole)
        if len(rest) > MAX_RECORD_BYTES:
            raise UnusableError(TOO_LARGE.replace("record", "line"), "too_large")
    if rest:
        yield rest


def _records(rows: Any, name: str) -> Iterator[DecodedValue | Diagnostic]:
    header: list[str] | None = None
    while True:
        where = f"{name}:{rows.line_num + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            said = str(error)
            wrong = next((wrong for part, wrong in _CSV_ERRORS.items() if part in said), (said, "malformed", None))
            yield Diagnostic(where, *wrong)
            continue
        if row is None:
            return
        if header is None:
            header = [column.strip() for column in row]
            twice = next((column for column, count in Counter(header).items() if column and count > 1), None)
            if twice is not None:
                what = f"two columns are called `{printable(twice)}`"
                yield Diagnostic(where, what, "malformed", "the first row names the columns")
                return
        elif any(row[len(header) :]):
            what = f"has {len(row)} columns, and the first row names {len(header)}"
            yield Diagnostic(where, what, "malformed", "quote fields that hold the delimiter")
        elif any(row):
            cells = zip_longest(header, row[: len(header)], fillvalue="")
            yield DecodedValue(where, {column: cell for column, cell in cells if column})


def read_parquet(stream: IO[bytes], name: str) -> Iterator[DecodedValue | Diagnostic]:
    """Yield a record for every row of a Parquet file, a seekable stream, with the extra `docs`."""
    try:
        parquet = library("pyarrow.parquet", "Parquet")
        batches = parquet.ParquetFile(stream).iter_batches(batch_size=_BATCH)
        for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1):
            yield DecodedValue(f"{name} (row {number})", _plain(row))
    except UnusableError as error:
        yield error.at(name)
    except Exception as error:  # damaged files raise whatever the parser stumbles over
        yield Diagnostic(name, f"damaged Parquet file: {first_line(error)}", "damaged")
    finally:
        # The position of the stream says how much was read.
        stream.seek(0, io.SEEK_END)


def _plain(value: Any) -> Any:
    """Reduce a value to what JSON has; times, decimals and bytes become text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
