"""Tables of AsciiDoc as rows of cells."""

import csv
import re
from collections.abc import Sequence

_CELL = re.compile(r"(?<!\\)(?:(?P<times>\d{1,3})\*)?(?:[\d.]{0,7}\+)?[<^>.]{0,4}[aehlmsdv]?(?<!\\)\|")
_COLUMNS = re.compile(r'cols="([^"]*)"|cols=([^",]*)')


def table_rows(lines: Sequence[str], mark: str, attributes: str) -> list[list[str]]:
    """The rows of a table, its head first (empty if it has none).

    Args:
        lines: between the delimiters.
        mark: the delimiter's first character, which separates the cells.
        attributes: over the table.
    """
    if mark in ",:" or "format=csv" in attributes.replace('"', ""):
        rows = _separated(lines, ":" if mark == ":" else ",")
        headed = len(lines) > 1 and not lines[1]
    else:
        rows, headed = _barred(lines, attributes)
    if "header" in attributes:
        headed = "noheader" not in attributes
    return rows if headed or not rows else [[], *rows]


def _separated(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return [[line] for line in lines if line]


def _barred(lines: Sequence[str], attributes: str) -> tuple[list[list[str]], bool]:
    cells: list[str] = []
    first_width = 0
    headed = False
    for index, line in enumerate(lines):
        matches = list(_CELL.finditer(line)) if "|" in line else []
        before = line[: matches[0].start()].strip() if matches else line
        if cells and before:
            cells[-1] = f"{cells[-1]}\n{before}" if cells[-1] else before
        elif not line and not headed and first_width and lines[index - 1][:1] == "|":
            # A blank line after the first row makes it the head.
            headed = len(cells) == first_width
        for match, end in zip(matches, [*(match.start() for match in matches[1:]), len(line)], strict=False):
            cells += [line[match.end() : end].strip().replace("\\|", "|")] * min(int(match["times"] or 1), 50)
        first_width = first_width or len(cells)
    width = _columns(attributes) or first_width
    return [cells[start : start + width] for start in range(0, len(cells), width)] if width else [], headed


def _columns(attributes: str) -> int:
    """How many columns `cols` names; 0 if it is not given."""
    found = _COLUMNS.search(attributes)
    if found is None:
        return 0
    times = (re.match(r"\s*(\d{1,2})\*", part) for part in re.split(r"[,;]", found[1] or found[2] or ""))
    return sum(int(match[1]) if match is not None else 1 for match in times)
