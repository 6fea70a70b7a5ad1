"""Parquet files to records, with the extra `docs`; knows nothing of what their columns mean."""

import io
from collections.abc import Iterator
from typing import IO, Any

from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.ingest.decoded_value import DecodedValue
from nima_cli.engine.data.ingest.formats.errors import FormatError, library

_ROWS = 1024


def read_parquet(stream: IO[bytes], name: str) -> Iterator[DecodedValue | Diagnostic]:
    """Yield a record for every row, a batch of rows in memory at a time.

    Args:
        stream: seekable.
        name: the file, for messages.
    """
    try:
        parquet = library("pyarrow.parquet", "Parquet")
        number = 0
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield DecodedValue(f"{name} (row {number})", _plain(row))
    except FormatError as error:
        yield Diagnostic(name, error.what, error.reason, error.hint)
    except Exception as error:  # whatever a damaged file makes a parser stumble over
        what = (str(error).strip().split("\n")[0] or type(error).__name__)[:200].rstrip(".")
        yield Diagnostic(name, f"damaged Parquet file: {what[:1].lower()}{what[1:]}", "damaged")
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
