"""What a preparation read, left out and dropped: a table for a terminal, lines elsewhere."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from nima_cli.events import InputsCounted
from nima_cli.ui import formatting
from nima_cli.ui.console import safe_text
from nima_cli.ui.tables import Cell, table

_SHOWN = 8  # suffixes with a line of their own
# A reason other than the suffix: singular and plural.
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
# Files of records, which `--text-files` leaves out.
_RECORDS = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv")
_BY_DEFAULT = {"dependencies", "build", "generated"}


def inputs_table(inputs: Sequence[InputsCounted]) -> Table:
    """One line per suffix or reason."""
    lines: list[Sequence[Cell]] = []
    for title, rows in _sections(inputs):
        lines.append((Text(title, "bold"),))
        for row in rows:
            size = formatting.size(row.bytes) if row.bytes else ""
            lines.append((f"  {_label(row)}", f"{row.count:,}", size, row.example))
    headings = ("input", ">count", ">size", "the largest, or the first")
    return table(headings, lines, styles=("", "", "", "dim"), gap=2)


def inputs_lines(inputs: Sequence[InputsCounted]) -> Iterator[str]:
    """The same as one line per section."""
    for title, rows in _sections(inputs):
        yield safe_text(f"{title}: {', '.join(map(_clause, rows))}")


def how_to_have_more(inputs: Sequence[InputsCounted]) -> str | None:
    """A hint how to read what was left out by default, if anything was."""
    left_out = [row for row in inputs if row.outcome == "left_out"]
    reasons = {row.reason for row in left_out}
    ways = ["what is left out by default with `data.default_excludes: false`"] if reasons & _BY_DEFAULT else []
    ways += ["what git ignores with `data.respect_gitignore: false`"] if "gitignore" in reasons else []
    ways = [f"{', '.join(ways)}, or one thing of it with `!PATTERN` in `data.exclude`"] if ways else []
    if any(row.reason == "kind" and row.suffix in _RECORDS for row in inputs):
        ways.append("records of a folder with `--source FOLDER`")
    return f"read {'; '.join(ways)}" if ways else None


def _sections(inputs: Sequence[InputsCounted]) -> Iterator[tuple[str, Sequence[InputsCounted]]]:
    """(heading, rows) of the sections that are not empty; of many suffixes, the rest in one row."""
    titles = {
        "read": "read",
        "kind": "not of a kind that is read",
        "left_out": "left out",
        "dropped": "dropped after reading",
    }
    for section, title in titles.items():
        rows = [row for row in inputs if section == ("kind" if row.reason == "kind" else row.outcome)]
        if len(rows) > _SHOWN + 1 and any(row.reason in ("", "kind") for row in rows):
            rest = rows[_SHOWN:]
            count, size = sum(row.count for row in rest), sum(row.bytes for row in rest)
            rows = [*rows[:_SHOWN], InputsCounted("", "", f"files of {len(rest)} more kinds", count, size, "")]
        if rows:
            yield title, rows


def _label(row: InputsCounted) -> str:
    if row.outcome == "dropped":
        return row.reason.replace("_", " ")
    if row.reason in ("", "kind"):
        return row.suffix or "without suffix"
    one, several = _REASONS.get(row.reason, (row.reason, row.reason))
    return one if row.count == 1 else several


def _clause(row: InputsCounted) -> str:
    counted = f"{row.count:,} {_label(row)}"
    if row.reason in ("", "kind", "embedded", "stdin"):
        largest = f", the largest {row.example}" if row.reason == "kind" and row.example else ""
        return f"{counted} ({formatting.size(row.bytes)}{largest})"
    more = f" and {row.count - 1:,} more" if row.count > 1 else ""
    return counted + (f" ({row.example}{more})" if row.example else "")
