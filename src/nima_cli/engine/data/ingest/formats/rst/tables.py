"""Reads tables of reStructuredText as rows of cells, the head first; None for what is too rich for rows."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from nima_cli.engine.data.ingest.formats.blocks import run_end

Rows = list[list[str]]
_RULE = re.compile(r"=+(?: +=+)+ *")
_SPAN_RULE = re.compile(r"-+(?: +-+)* *")
_BORDER = re.compile(r"\+(?:[-=]+\+)+")
# Cells of a Markdown table cannot hold code blocks and directives.
_RICH = re.compile(r"^(?:\.\. |>>> |[^\n]*::$)", re.MULTILINE)
_ITEM = re.compile(r"(?:[*-]|\|) +|[*|-]$")


def table_end(lines: Sequence[str], index: int) -> int:
    """Find the line after the grid or simple table that begins at `index`; `index` if there is none."""
    if _BORDER.fullmatch(lines[index]):
        end = run_end(lines, index, lambda line: line[:1] in ("+", "|"))
        return end if end > index + 2 and _BORDER.fullmatch(lines[end - 1]) else index
    rules = 0
    for place in range(index, len(lines) if _RULE.fullmatch(lines[index]) else index):
        if lines[place][:1] == "=" and _RULE.fullmatch(lines[place]):
            rules += 1
            # The last rule is followed by a blank line.
            if rules > 1 and (rules == 3 or place + 1 == len(lines) or not lines[place + 1]):
                return place + 1
    return index


def table_rows(lines: Sequence[str]) -> Rows | None:
    if lines[0][0] == "+":
        return _grid_rows(lines)
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    head_end = next((index for index, line in enumerate(lines[1:-1], 1) if _RULE.fullmatch(line)), 0)
    groups: list[Rows] = []
    for index, line in enumerate(lines[1:-1], 1):
        if not line or index == head_end or _SPAN_RULE.fullmatch(line):
            continue
        cells = _cut(line, starts, " ")
        if groups and index != head_end + 1 and (index < head_end or not cells[0]):
            groups[-1].append(cells)
        else:
            groups.append([cells])
    return _finished(groups, bool(head_end))


def _grid_rows(lines: Sequence[str]) -> Rows | None:
    """Read a grid; a cell that spans columns stands in the first, one that spans rows in all of them."""
    width = len(lines[0])
    starts = sorted({match.end() for line in lines if _BORDER.fullmatch(line) for match in re.finditer(r"\+", line)})
    groups: list[Rows] = []
    group: Rows = []
    headed = False
    for line in lines[1:]:
        if len(line) != width or line[-1] not in "+|":
            return None
        if _BORDER.fullmatch(line):
            groups.append(group)
            headed = headed or ("=" in line and len(groups) == 1)
            group = []
        else:
            # A cell next to one that spans rows may hold a border.
            group.append([cell if cell.strip("-+=") else "" for cell in _cut(line, starts, "+|")[:-1]])
    return _finished(groups, headed)


def _cut(line: str, starts: Sequence[int], between: str) -> list[str]:
    """Cut a line into cells; text that crosses into the next column stays where it begins."""
    cells = [""] * len(starts)
    column = 0
    for place, start in enumerate(starts[1:], 1):
        if line[start - 1 : start] in ("", *between):
            cells[column] = line[starts[column] : start - 1].strip()
            column = place
    cells[column] = line[starts[column] :].strip()
    return cells


def listed_rows(lines: Sequence[str], options: Mapping[str, str]) -> Rows | None:
    """Read a `list-table`, a list of lists of cells, without shared indentation."""
    rows: list[Rows] = []
    margin = 0
    for line in filter(None, lines):
        rest = line[2:].lstrip(" ") if line[:2] in ("* ", "- ") else ""
        inner = line.lstrip(" ")
        if rest[:2] in ("* ", "- ", "*", "-"):
            margin = len(line) - len(rest)
            rows.append([[rest[2:].strip()]])
        elif not rows:
            return None
        elif len(line) - len(inner) == margin and inner[:2] in ("* ", "- ", "*", "-"):
            rows[-1].append([inner[2:].strip()])
        elif line[0] == " ":
            rows[-1][-1].append(inner)
        else:
            return None
    return _finished([list(zip_longest(*row, fillvalue="")) for row in rows], options.get("header-rows", "0") != "0")


def csv_rows(lines: Sequence[str], options: Mapping[str, str]) -> Rows | None:
    delimiter = {"tab": "\t", "space": " "}.get(options.get("delim", ","), options.get("delim", ","))
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
        head = list(csv.reader([options["header"]], skipinitialspace=True)) if options.get("header") else []
    except (csv.Error, TypeError):
        return None
    return _finished(([row] for row in head + rows if row), bool(head) or options.get("header-rows", "0") != "0")


def _finished(groups: Iterable[Iterable[Sequence[str]]], headed: bool) -> Rows | None:
    """Join the lines of each row, which are cut into cells."""
    rows = [["\n".join(filter(None, cell)) for cell in zip_longest(*group, fillvalue="")] for group in groups]
    if not rows or any(_RICH.search(cell) for row in rows for cell in row):
        return None
    plain = [[*map(_plain, row)] for row in rows]
    return plain if headed else [[], *plain]


def _plain(cell: str) -> str:
    """Remove the marks of line blocks from a cell."""
    if cell[:1] == "\\" and not cell.strip("\\ "):
        return ""
    return "\n".join(_ITEM.sub("", line, count=1) for line in cell.split("\n")) if cell.startswith("|") else cell
