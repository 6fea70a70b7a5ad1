"""CSV and TSV to records: the first row names the columns; knows nothing of what they mean."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence

from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError, printable
from nima_cli.engine.data.ingest.decoded_value import MAX_RECORD_BYTES, TOO_LARGE, DecodedValue, text_blocks

_DELIMITERS = ",;\t|"


def read_delimited(stream: io.BufferedIOBase, name: str, suffix: str) -> Iterator[DecodedValue | Diagnostic]:
    """Yield a record, column name -> text, for every row but the first.

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
        rows = csv.reader(
            _chained(first, lines), delimiter="\t" if suffix == ".tsv" else _delimiter(first), strict=True
        )
        yield from _records(rows, name)
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


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from lines


def _delimiter(first: str) -> str:
    """What splits the first row into most columns; a comma if nothing does."""

    def columns(delimiter: str) -> int:
        return len(next(csv.reader([first], delimiter=delimiter)))

    return max(_DELIMITERS, key=columns)


def _records(rows: Iterator[Sequence[str]], name: str) -> Iterator[DecodedValue | Diagnostic]:
    header: list[str] | None = None
    end = 0
    while True:
        begin = end + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            end = _line(rows)
            yield Diagnostic(f"{name}:{begin}", *_wrong(str(error)))
            continue
        end = _line(rows)
        if header is None:
            header = [column.strip() for column in row]
            if problem := _bad_header(header, f"{name}:{begin}"):
                yield problem
                return
        elif any(row):
            yield _record(header, row, f"{name}:{begin}")


def _line(rows: Iterator[Sequence[str]]) -> int:
    return int(rows.line_num)  # type: ignore[attr-defined]


def _wrong(error: str) -> tuple[str, str, str | None]:
    if "unexpected end of data" in error:
        return "a quote that opens here is never closed", "malformed", 'double it inside of a field: `""`'
    if "field larger" in error:
        return TOO_LARGE.replace("record", "field"), "too_large", "is a quote that opens here never closed?"
    if "expected after" in error:
        return "more after the quote that ends a field", "malformed", 'double quotes inside of a field: `""`'
    if "new-line character" in error:
        return "a carriage return inside of a field that is not quoted", "malformed", None
    return error, "malformed", None


def _bad_header(header: Sequence[str], where: str) -> Diagnostic | None:
    counts = Counter(column for column in header if column)
    twice = next((column for column, count in counts.items() if count > 1), None)
    if twice is not None:
        return Diagnostic(
            where, f"two columns are called `{printable(twice)}`", "malformed", "the first row names the columns"
        )
    return None


def _record(header: Sequence[str], row: Sequence[str], where: str) -> DecodedValue | Diagnostic:
    if any(row[len(header) :]):
        what = f"has {len(row)} columns, and the first row names {len(header)}"
        return Diagnostic(where, what, "malformed", "quote fields that hold the delimiter")
    cells = [*row, *[""] * (len(header) - len(row))]
    return DecodedValue(where, {column: cell for column, cell in zip(header, cells, strict=False) if column})
