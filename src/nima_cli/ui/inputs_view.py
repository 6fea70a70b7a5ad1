"""What a preparation read, left out and dropped: a table for a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nima_cli.events import InputsCounted
from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text

# How many suffixes or reasons have a line of their own; the rest are added up.
_SHOWN = 8
# One of them, several, of what is counted by another reason than its suffix.
_REASONS = {
    "embedded": ("embedded document", "embedded documents"),
    "stdin": ("document on standard input", "documents on standard input"),
    "excluded": ("excluded path", "excluded paths"),
    "gitignore": ("path that git ignores", "paths that git ignores"),
    "hidden": ("hidden entry", "hidden entries"),
    "dependencies": ("folder of installed packages", "folders of installed packages"),
    "build": ("folder of build output", "folders of build output"),
    "generated": ("generated file", "generated files"),
    "dataset": ("prepared dataset", "prepared datasets"),
    "run": ("run directory", "run directories"),
    "output": ("output directory itself", "output directory itself"),
    "report": ("report of a preparation", "reports of preparations"),
    "broken_link": ("broken link", "broken links"),
    "not_regular": ("entry that is no file", "entries that are no files"),
    "unreadable": ("unreadable entry", "unreadable entries"),
}
# Files of records, which `--text-files` leaves in a folder.
_RECORDS = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv")
_BY_DEFAULT = ("dependencies", "build", "generated")


def inputs_table(inputs: Sequence[InputsCounted]) -> RenderableType:
    """One line a suffix or reason, with the largest named."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("input")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("the largest, or the first", overflow="fold")
    for title, rows in _sections(inputs):
        table.add_row(Text(title, "bold"))
        for label, row in _shortened(rows):
            size = formatting.size(row.bytes) if row.bytes else ""
            example = Text(safe_text(row.example), "dim", overflow="fold")
            table.add_row(Text(f"  {safe_text(label)}"), f"{row.count:,}", size, example)
    return table


def inputs_lines(inputs: Sequence[InputsCounted]) -> Iterator[str]:
    """The same as plain lines, one for each way in which files fared."""
    for title, rows in _sections(inputs):
        yield f"{title}: {', '.join(_clause(label, row) for label, row in _shortened(rows))}"


def how_to_have_more(inputs: Sequence[InputsCounted]) -> str | None:
    """How to read what no user asked to leave out; None where nothing was."""
    reasons = {row.reason for row in inputs if row.outcome == "left_out"}
    by_default = [row for row in inputs if row.outcome == "left_out" and row.reason in _BY_DEFAULT]
    ways = ["what is left out by default with `data.default_excludes: false`"] if by_default else []
    ways += ["what git ignores with `data.respect_gitignore: false`"] if "gitignore" in reasons else []
    ways = [f"{', '.join(ways)}, or one thing of it with `!PATTERN` in `data.exclude`"] if ways else []
    records = [row for row in inputs if row.reason == "kind" and row.suffix in _RECORDS]
    ways += ["records of a folder with `--source FOLDER`"] if records else []
    return f"read {'; '.join(ways)}" if ways else None


def _sections(inputs: Sequence[InputsCounted]) -> Iterator[tuple[str, list[InputsCounted]]]:
    """What belongs together, with its heading; nothing that is empty."""
    of_kind = [row for row in inputs if row.outcome == "left_out" and row.reason == "kind"]
    of_rule = [row for row in inputs if row.outcome == "left_out" and row.reason != "kind"]
    sections = {
        "read": [row for row in inputs if row.outcome == "read"],
        "not of a kind that is read": of_kind,
        "left out": of_rule,
        "dropped after reading": [row for row in inputs if row.outcome == "dropped"],
    }
    return ((title, rows) for title, rows in sections.items() if rows)


def _shortened(rows: Sequence[InputsCounted]) -> Iterator[tuple[str, InputsCounted]]:
    """What each of the first rows is called, with it, and one row for all others of suffixes."""
    by_suffix = any(row.reason in ("", "kind") for row in rows)
    shown = _SHOWN if by_suffix and len(rows) > _SHOWN + 1 else len(rows)
    yield from ((_label(row), row) for row in rows[:shown])
    rest = rows[shown:]
    if rest:
        count, size = sum(row.count for row in rest), sum(row.bytes for row in rest)
        yield f"files of {len(rest)} more kinds", InputsCounted(rest[0].outcome, rest[0].reason, "", count, size, "")


def _label(row: InputsCounted) -> str:
    if row.outcome == "dropped":
        return row.reason.replace("_", " ")
    if row.reason in ("", "kind"):
        return row.suffix or "without suffix"
    one, several = _REASONS.get(row.reason, (row.reason, row.reason))
    return one if row.count == 1 else several


def _clause(label: str, row: InputsCounted) -> str:
    if row.reason in ("embedded", "stdin"):
        return f"{row.count:,} {label} ({formatting.size(row.bytes)})"
    if row.reason in ("", "kind"):
        largest = f", the largest {row.example}" if row.reason and row.example else ""
        return safe_text(f"{row.count:,} {label} ({formatting.size(row.bytes)}{largest})")
    more = f" and {row.count - 1:,} more" if row.count > 1 else ""
    return safe_text(f"{row.count:,} {label}" + (f" ({row.example}{more})" if row.example else ""))
