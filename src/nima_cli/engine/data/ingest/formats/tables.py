"""CSV, TSV and Parquet files to records."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO, Any

from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError, printable
from nima_cli.engine.data.ingest.decoded_value import MAX_RECORD_BYTES, TOO_LARGE, DecodedValue, text_blocks
from nima_cli.engine.data.ingest.formats.errors import FormatError, first_line, library

_DELIMITERS = ",;\t|"
# What `csv` says, and what we say of it: what is wrong, the reason, a hint.
_CSV_ERRORS = {
    "unexpected end of data": (
        "a quote that opens here is never closed", "malformed", 'double it inside of a field: `""`',
    ),
    "field larger": (
        TOO_LARGE.replace("record", "field"), "too_large", "is a quote that opens here never closed?",
    ),
    "expected after": (
        "more after the quote that ends a field", "malformed", 'double quotes inside of a field: `""`',
    ),
    "new-line character": ("a carriage return inside of a field that is not quoted", "malformed", None),
}  # fmt: skip
# Rows of a Parquet file in memory.
_BATCH = 1024


def read_delimited(stream: io.BufferedIOBase, name: str, suffix: str) -> Iterator[DecodedValue | Diagnostic]:
    """Yield a record, column name -> text, for every row but the first, which names the columns.

    Args:
        stream: UTF-8, at its start.
        name: the file, for messages.
        suffix: `.tsv` fixes the delimiter; else the one that splits the first row best is taken.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)
    lines = _lines(text_blocks(stream))
    try:
        first = next((line for line in lines if line.strip()), "")
        # A title over several lines is a header all the same: what follows is read with it.
        delimiter = "\t" if suffix == ".tsv" else _delimiter(first)
        yield from _records(csv.reader(chain([first] if first else [], lines), delimiter=delimiter, strict=True), name)
    except UnusableError as error:
        yield error.at(name)


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """Lines with their ends, whichever of LF and CR LF they are."""
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).split("\n")
        yield from (f"{line}\n" for line in whole)
        if len(rest) > MAX_RECORD_BYTES:
            raise UnusableError(TOO_LARGE.replace("record", "line"), "too_large")
    if rest:
        yield rest


def _delimiter(first: str) -> str:
    """What splits the first row into most columns; a comma if nothing does."""
    return max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([first], delimiter=delimiter))))


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
            twice = [column for column, count in Counter(header).items() if column and count > 1]
            if twice:
                what = f"two columns are called `{printable(twice[0])}`"
                yield Diagnostic(where, what, "malformed", "the first row names the columns")
                return
        elif any(row):
            yield _record(header, row, where)


def _record(header: Sequence[str], row: Sequence[str], where: str) -> DecodedValue | Diagnostic:
    if any(row[len(header) :]):
        what = f"has {len(row)} columns, and the first row names {len(header)}"
        return Diagnostic(where, what, "malformed", "quote fields that hold the delimiter")
    cells = [*row, *[""] * (len(header) - len(row))]
    return DecodedValue(where, {column: cell for column, cell in zip(header, cells, strict=False) if column})


def read_parquet(stream: IO[bytes], name: str) -> Iterator[DecodedValue | Diagnostic]:
    """Yield a record for every row of a Parquet file, with the extra `docs`.

    Args:
        stream: seekable.
        name: the file, for messages.
    """
    try:
        parquet = library("pyarrow.parquet", "Parquet")
        batches = parquet.ParquetFile(stream).iter_batches(batch_size=_BATCH)
        for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1):
            yield DecodedValue(f"{name} (row {number})", _plain(row))
    except FormatError as error:
        yield Diagnostic(name, error.what, error.reason, error.hint)
    except Exception as error:  # whatever a damaged file makes a parser stumble over
        yield Diagnostic(name, f"damaged Parquet file: {first_line(error)}", "damaged")
    finally:
        # What was read is counted by where the stream is.
        stream.seek(0, io.SEEK_END)


def _plain(value: Any) -> Any:
    """A value as JSON has it; times, decimals and bytes as they are written."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
