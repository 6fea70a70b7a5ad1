"""A table of an HTML page as a Markdown table, where it is one; layout made of tables is none."""

from collections.abc import Callable

from selectolax.lexbor import LexborNode

from nima_cli.engine.data.ingest.formats.html.nodes import children, classes

_MAX_SPAN = 100


def table(node: LexborNode, blocks: Callable[[LexborNode], list[str]]) -> list[str]:
    """The blocks that a table becomes: its caption and one table, or what its cells hold, one after the other.

    Args:
        blocks: the Markdown of what an element holds.
    """
    caption, rows = _rows(node)
    filled = [[(cell, [] if cell is None else blocks(cell)) for cell in row] for row in rows]
    above = blocks(caption) if caption is not None else []
    width = max((len(row) for row in filled), default=0)
    layout = node.attributes.get("role") in ("presentation", "none")
    if layout or width < 2 or len(filled) < 2 or not all(_fits(held) for row in filled for _, held in row):
        return above + [block for row in filled for _, held in row for block in held]
    lines = ["| " + " | ".join(_cell(held) for _, held in row) + " |" for row in filled]
    lines[0] += " |" * (width - len(filled[0]))
    return [*above, "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])]


def _rows(node: LexborNode) -> tuple[LexborNode | None, list[list[LexborNode | None]]]:
    """The caption, and the cells row by row; None where a cell reaches in from the left or from above."""
    caption: LexborNode | None = None
    rows: list[list[LexborNode | None]] = []
    hanging: dict[int, int] = {}
    for part in children(node):
        if part.tag == "caption":
            caption = part
        found = children(part) if part.tag in ("thead", "tbody", "tfoot") else [part]
        filled = (_cells(row, hanging) for row in found if row.tag == "tr")
        rows += [cells for cells in filled if cells]
    return caption, rows


def _cells(row: LexborNode, hanging: dict[int, int]) -> list[LexborNode | None]:
    cells: list[LexborNode | None] = []

    def from_above() -> None:
        while hanging.get(len(cells), 0) > 0:
            hanging[len(cells)] -= 1
            cells.append(None)

    for cell in children(row):
        if cell.tag not in ("td", "th") or not {"linenos", "gutter"}.isdisjoint(classes(cell)):
            continue
        from_above()
        down = _number(cell, "rowspan") - 1
        for place in range(_number(cell, "colspan")):
            if down > 0:
                hanging[len(cells)] = down
            cells.append(None if place else cell)
    from_above()
    return cells


def _number(cell: LexborNode, name: str) -> int:
    value = cell.attributes.get(name) or ""
    return min(max(int(value), 1), _MAX_SPAN) if value.isascii() and value.isdigit() and len(value) < 6 else 1


def _fits(held: list[str]) -> bool:
    return not any(block.startswith(("```", "|", "#", ">")) for block in held)


def _cell(held: list[str]) -> str:
    return " ".join(" ".join(held).split()).replace("|", "\\|")
