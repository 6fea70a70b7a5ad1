"""Tables of AsciiDoc as rows of cells."""

import csv
import re
from collections.abc import Sequence

_CELL = re.compile(r"(?<!\\)(?:(?P<times>\d{1,3})\*)?(?:[\d.]{0,7}\+)?[<^>.]{0,4}[aehlmsdv]?(?<!\\)\|")


def table_rows(lines: Sequence[str], mark: str, style: str, options: Sequence[str]) -> list[list[str]]:
    """The rows of a table, its head first (empty cells if it has none).

    Args:
        lines: between the delimiters.
        mark: the delimiter's first character, which separates the cells.
        style: the first of the attributes over the table.
        options: the others.
    """
    given = ",".join([style, *options])
    if mark in ",:" or "format=csv" in given.replace('"', ""):
        rows = _separated(lines, ":" if mark == ":" else ",")
        headed = len(lines) > 1 and not lines[1]
    else:
        rows, headed = _barred(lines, given)
    if not rows:
        return []
    if "noheader" in given:
        headed = False
    elif "header" in given:
        headed = True
    return rows if headed else [[""] * max(map(len, rows)), *rows]


def _separated(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return [[line] for line in lines if line]


def _barred(lines: Sequence[str], given: str) -> tuple[list[list[str]], bool]:
    cells: list[str] = []
    first_width = 0
    headed = False
    for index, line in enumerate(lines):
        matches = list(_CELL.finditer(line)) if "|" in line else []
        if not matches:
            if cells and line:
                cells[-1] = f"{cells[-1]}\n{line}" if cells[-1] else line
            elif not line and not headed and first_width and index and lines[index - 1][:1] == "|":
                # A blank line after the first row makes it the head.
                headed = len(cells) == first_width
            continue
        if cells and (before := line[: matches[0].start()].strip()):
            cells[-1] = f"{cells[-1]}\n{before}"
        ends = [*(match.start() for match in matches[1:]), len(line)]
        for match, end in zip(matches, ends, strict=True):
            cells += [line[match.end() : end].strip().replace("\\|", "|")] * min(int(match["times"] or 1), 50)
        first_width = first_width or len(cells)
    width = _columns(given) or first_width
    return [cells[start : start + width] for start in range(0, len(cells), width)] if width else [], headed


def _columns(given: str) -> int:
    """How many columns `cols` names; 0 if it is not given."""
    found = re.search(r'cols="([^"]*)"|cols=([^",]*)', given)
    if found is None:
        return 0
    width = 0
    for part in re.split(r"[,;]", found[1] if found[1] is not None else found[2]):
        times = re.match(r"\s*(\d{1,2})\*", part)
        width += int(times[1]) if times is not None else 1
    return width
