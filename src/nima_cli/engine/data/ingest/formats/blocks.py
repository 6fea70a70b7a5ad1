"""What the converters of lightweight markup share: blocks within blocks, lists, and the lines that belong together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

Block = tuple[list[str], int]
"""The Markdown of a block, and the line after it."""


class Converter(ABC):
    """Converts the blocks of one file, and in turn the blocks within them.

    Attributes:
        inline: turns the text of a paragraph into Markdown.
        language: of code that does not name its own.
        titled: whether titles may stand among the blocks at hand.
        depth: how many blocks the one at hand is in.
        gap: blank lines that there are at least between the block at hand and the one before it.
    """

    # Blocks nested deeper than anyone writes stay as they are, so that the time stays linear.
    DEEPEST = 24

    def __init__(self, inline: Callable[[str], str]) -> None:
        self.inline = inline
        self.language = ""
        self.titled = True
        self.gap = 1
        self.depth = 0

    @abstractmethod
    def block(self, lines: Sequence[str], index: int) -> Block:
        """Convert the block that begins at a line."""

    def blocks(self, lines: Sequence[str]) -> list[str]:
        """The blocks of `lines` in Markdown, with the blank lines that were between them."""
        written: list[str] = []
        index = blank = 0
        while index < len(lines):
            if not lines[index]:
                blank += 1
                index += 1
                continue
            made, index = self.block(lines, index)
            if made:
                if written:
                    written += [""] * max(blank, self.gap)
                written += made
            blank = 0
        return written

    def nested(self, lines: Sequence[str], titled: bool = False) -> list[str]:
        """The blocks within another; only those of a container (`titled`) may hold titles."""
        if self.depth >= self.DEEPEST:
            return list(lines)
        outside, self.titled = self.titled, self.titled and titled
        self.depth += 1
        try:
            return self.blocks(lines)
        finally:
            self.depth -= 1
            self.titled = outside


def markdown_text(lines: Sequence[str], source: str) -> str:
    """`lines` as the text of a document; it ends as `source` does."""
    written = "\n".join(lines)
    return written + "\n" if written and source.endswith("\n") else written


def list_items(
    item: Callable[[int], Block | None], lines: Sequence[str], index: int, *, tight: bool = False
) -> Block | None:
    """The items that follow each other, with the blank lines between them; None if there is no item.

    Args:
        item: converts the item that begins at a line; None ends the list.
        tight: without the blank lines.
    """
    written: list[str] = []
    begin = end = index
    while index < len(lines) and (found := item(index)) is not None:
        written += found[0] if tight else [""] * (index - end) + found[0]
        end = found[1]
        index = next_text(lines, end)
    return (written, end) if end > begin else None


def next_text(lines: Sequence[str], index: int) -> int:
    """The first line from `index` on that is not blank."""
    while index < len(lines) and not lines[index]:
        index += 1
    return index


def run_end(lines: Sequence[str], index: int, belongs: Callable[[str], object]) -> int:
    """The first line from `index` on that does not belong to the ones before it."""
    while index < len(lines) and belongs(lines[index]):
        index += 1
    return index


def indented_end(lines: Sequence[str], index: int) -> int:
    """The line after the indented block that begins at `index`, without the blank lines after it."""
    end = index
    for place in range(index, len(lines)):
        line = lines[place]
        if line:
            if line[0] != " ":
                break
            end = place + 1
    return end
