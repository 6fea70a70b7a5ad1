"""Tables of reStructuredText as rows of cells; what is too rich for rows is told by None."""

import csv
import re
from collections.abc import Sequence

_RULE = re.compile(r"=+(?: +=+)+ *")
_SPAN_RULE = re.compile(r"-+(?: +-+)* *")
_BORDER = re.compile(r"\+(?:[-=]+\+)+")
_COLUMN = re.compile(r"=+")
# Cells that hold blocks of code or directives are no cells of a Markdown table.
_RICH = re.compile(r"^(?:\.\. |>>> |[^\n]*::$)", re.MULTILINE)
_ITEM = re.compile(r"(?:[*-]|\|) +|[*|-]$")


def is_rule(line: str) -> bool:
    """Whether a simple table may begin here."""
    return _RULE.fullmatch(line) is not None


def is_border(line: str) -> bool:
    """Whether a grid table may begin here."""
    return _BORDER.fullmatch(line) is not None


def simple_end(lines: Sequence[str], index: int) -> int:
    """The line after the simple table whose first rule is at `index`: its last rule is followed by a blank line."""
    rules, place = 1, index + 1
    while place < len(lines):
        if lines[place][:1] == "=" and is_rule(lines[place]):
            rules += 1
            if place + 1 == len(lines) or not lines[place + 1] or rules == 3:
                return place + 1
        place += 1
    return index


def grid_end(lines: Sequence[str], index: int) -> int:
    """The line after the grid table at `index`."""
    end = index
    while end < len(lines) and lines[end][:1] in ("+", "|"):
        end += 1
    return end if end > index + 2 and is_border(lines[end - 1]) else index


def simple_rows(lines: Sequence[str]) -> list[list[str]] | None:
    """The rows of a simple table, its head first (empty cells if it has none)."""
    starts = [match.start() for match in _COLUMN.finditer(lines[0])]
    inner = [index for index in range(1, len(lines) - 1) if lines[index][:1] == "=" and is_rule(lines[index])]
    head_end = inner[0] if inner else 0
    rows: list[list[str]] = []
    for index, line in enumerate(lines[1:-1], 1):
        if not line or index == head_end:
            continue
        if line[0] == "-" and _SPAN_RULE.fullmatch(line):
            continue
        cells = _cut(line, starts)
        if rows and index != head_end + 1 and (index < head_end or not cells[0]):
            _append(rows[-1], cells)
        else:
            rows.append(cells)
    return _finished(rows, bool(head_end))


def _cut(line: str, starts: Sequence[int]) -> list[str]:
    """The cells of a line; text that crosses into the next column stays in the one where it begins."""
    cells = [""] * len(starts)
    column = 0
    for place, start in enumerate(starts[1:], 1):
        if line[start - 1 : start] in (" ", ""):
            cells[column] = line[starts[column] : start].strip()
            column = place
    cells[column] = line[starts[column] :].strip()
    return cells


def _append(row: list[str], cells: Sequence[str]) -> None:
    for column, cell in enumerate(cells):
        if cell:
            row[column] = f"{row[column]}\n{cell}" if row[column] else cell


def grid_rows(lines: Sequence[str]) -> list[list[str]] | None:
    """The rows of a grid table, its head first (empty cells if it has none).

    A cell that spans columns stands in its first, one that spans rows in all of them together.
    """
    width = len(lines[0])
    borders = [line for line in lines if is_border(line)]
    bars = sorted({index for line in borders for index, character in enumerate(line) if character == "+"})
    rows: list[list[str]] = []
    current: list[list[str]] = [[] for _ in bars[1:]]
    headed = False
    for line in lines[1:]:
        if len(line) != width or line[-1] not in "+|":
            return None
        if is_border(line):
            rows.append(["\n".join(cell).strip() for cell in current])
            headed = headed or ("=" in line and len(rows) == 1)
            current = [[] for _ in bars[1:]]
            continue
        column = 0
        for place, bar in enumerate(bars[1:], 1):
            if line[bar] in "+|":
                text = line[bars[column] + 1 : bar].strip()
                if text.strip("-+="):
                    current[column].append(text)
                column = place
    return _finished(rows, headed)


def listed_rows(lines: Sequence[str]) -> list[list[str]] | None:
    """The rows of a `list-table`: a list of lists, each item of the inner ones a cell.

    Args:
        lines: without a shared indentation.
    """
    rows: list[list[list[str]]] = []
    margin = 0
    for line in lines:
        rest = line[2:].lstrip(" ") if line[:2] in ("* ", "- ") else ""
        inner = line.lstrip(" ")
        if rest[:2] in ("* ", "- ", "*", "-"):
            margin = len(line) - len(rest)
            rows.append([[rest[2:].strip()]])
        elif not inner:
            continue
        elif not rows:
            return None
        elif len(line) - len(inner) == margin and inner[:2] in ("* ", "- ", "*", "-"):
            rows[-1].append([inner[2:].strip()])
        elif line[0] == " ":
            rows[-1][-1].append(inner)
        else:
            return None
    return _finished([["\n".join(cell).strip() for cell in row] for row in rows], True)


def csv_rows(text: str, options: dict[str, str]) -> list[list[str]] | None:
    """The rows of a `csv-table`."""
    delimiter = {"tab": "\t", "space": " "}.get(options.get("delim", ","), options.get("delim", ","))
    if len(delimiter) != 1:
        return None
    try:
        rows = list(csv.reader(text.split("\n"), delimiter=delimiter, skipinitialspace=True))
        head = list(csv.reader([options["header"]], skipinitialspace=True)) if options.get("header") else []
    except csv.Error:
        return None
    return _finished(head + [row for row in rows if row], bool(head) or options.get("header-rows", "0") != "0")


def _finished(rows: list[list[str]], headed: bool) -> list[list[str]] | None:
    if not rows or any(_RICH.search(cell) for row in rows for cell in row):
        return None
    plain = [[_plain(cell) for cell in row] for row in rows]
    return plain if headed else [[""] * max(map(len, plain)), *plain]


def _plain(cell: str) -> str:
    """A cell without the marks of line blocks and of a list of one item."""
    if cell[:1] == "\\" and not cell.strip("\\ "):
        return ""
    if cell.startswith("|"):
        return "\n".join(_ITEM.sub("", line, count=1) for line in cell.split("\n"))
    return cell
