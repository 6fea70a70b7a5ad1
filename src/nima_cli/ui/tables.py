"""Tables for the terminal, from rows of text."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nima_cli.ui.console import safe_text

Cell = str | Text


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, styles: Sequence[str] = (), gap: int = 3
) -> Table:
    """A table without lines.

    Args:
        headings: one per column, with `>` before it for a column of numbers; all empty: no headings.
        rows: strings may be foreign; a `Text` is shown as it is.
        styles: of the columns, from the first one on.
        gap: blanks between columns.
    """
    grid = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, show_header=any(headings), header_style="dim")
    for heading, style in zip_longest(headings, styles, fillvalue=""):
        title = Text(safe_text(heading.removeprefix(">")))
        if heading.startswith(">"):
            grid.add_column(title, style=style, justify="right", no_wrap=True)
        else:
            grid.add_column(title, style=style, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(safe_text(cell)) if isinstance(cell, str) else cell for cell in row))
    return grid


def stacked(*parts: RenderableType) -> Group:
    """Parts below each other with empty lines between them."""
    spaced = [item for part in parts for item in (Text(), part)]
    return Group(*spaced[1:])
