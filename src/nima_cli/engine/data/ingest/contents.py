"""What is in a file, by how it is to be read, its name and its first bytes; opens nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest.formats.registry import LIGHTWEIGHT_SUFFIXES, Format, binary_kind, format_of, text_kind

MARKDOWN_SUFFIXES = frozenset({".md", ".mdx", ".markdown", ".mkd", ".mdown", ".qmd", ".rmd"})
# Files that can be read as they are written.
TEXT_SUFFIXES = MARKDOWN_SUFFIXES | LIGHTWEIGHT_SUFFIXES | {".rst", ".txt", ".text"}
LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
RECORD_SUFFIXES = LINE_SUFFIXES | TABLE_SUFFIXES | {".json"}
# These say nothing about what is in a file.
_VAGUE_SUFFIXES = frozenset({"", ".txt", ".text"})
_RAW = "to learn the text of the file itself, use `format: text`"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not read; see `Problem`."""

    what: str
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a file.

    Attributes:
        container: `text`, `table`, `json`, `jsonl`, or `auto`: one of the last two, which their first characters tell.
        kind: of the documents, when it is prose.
        format: that it is converted from.
    """

    container: str
    kind: Kind | None = None
    format: Format | None = None


def contents_of(
    format_: str, container: str, suffix: str, head: Callable[[], bytes], *, as_written: bool = False
) -> Contents | Refusal:
    """What a file holds, or why it is not read.

    Args:
        format_: as in the configuration.
        container: as in the configuration.
        suffix: of the contents.
        head: the first bytes, unpacked; called when they matter.
        as_written: lightweight markup is text, and not converted.
    """
    found = container_of(format_, container, suffix)
    if found != "text":
        return Contents(found)
    if format_ == "auto" and suffix in RECORD_SUFFIXES:
        flag = "" if suffix in TABLE_SUFFIXES else f"give it to `--{suffix[1:]}-files`; "
        flag = flag or "give it as a source of its own: `data.sources: [{path: …}]`; "
        return Refusal("holds records, and is given as text", "not_text", flag + _RAW)
    begin = head()
    form = converted_by(format_, container, suffix, as_written=as_written)
    binary = binary_kind(begin)
    if binary is not None and (form is None or form.takes in ("text", "named text")):
        form = format_of(binary.suffix) if format_ == "auto" else None
        if form is None and not (binary.readable and format_ != "auto"):
            return Refusal(f"is {binary.what}, not text", "binary", _renamed(binary.suffix))
    if form is None and format_ == "auto" and suffix in _VAGUE_SUFFIXES:
        form = format_of(text_kind(begin))
    return Contents("text", form.kind if form else _prose_kind(format_, suffix), form)


def container_of(format_: str, container: str, suffix: str) -> str:
    """See `Contents.container`."""
    if format_ in ("text", "markdown"):
        return "text"
    if container != "auto":
        return container
    if suffix in RECORD_SUFFIXES:
        return "table" if suffix in TABLE_SUFFIXES else "json" if suffix == ".json" else "jsonl"
    return "text" if format_ == "auto" else "auto"


def converted_by(format_: str, container: str, suffix: str, *, as_written: bool = False) -> Format | None:
    """The format that files with this suffix are converted from; None if they are read as they are."""
    prose = format_ == "auto" and container_of(format_, container, suffix) == "text"
    return format_of(suffix, as_written=as_written) if prose else None


def _renamed(suffix: str) -> str | None:
    if suffix == ".parquet":
        return "give it as a source of its own, with a name that ends in `.parquet`"
    return f"let its name end in `{suffix}`, and give it without `format`" if suffix else None


def _prose_kind(format_: str, suffix: str) -> Literal["text", "markdown"]:
    if format_ == "auto":
        return "markdown" if suffix in MARKDOWN_SUFFIXES else "text"
    return "text" if format_ == "text" else "markdown"
