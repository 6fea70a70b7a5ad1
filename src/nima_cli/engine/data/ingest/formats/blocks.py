"""What the converters of lightweight markup share: nested blocks, lists, and runs of lines."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

Block = tuple[list[str], int]
"""The Markdown of a block, and the line after it."""


class Converter(ABC):
    """Converts the blocks of one file, and in turn the blocks within them."""

    # Deeper blocks stay as they are, so that the time stays linear.
    DEEPEST = 24

    def __init__(self, inline: Callable[[str], str]) -> None:
        self.inline = inline  # turns the text of a paragraph into Markdown
        self.language = ""  # of code that does not name its own
        self.titled = True  # titles may stand among the current blocks
        self.gap = 1  # at least so many blank lines before the current block
        self.depth = 0

    @abstractmethod
    def block(self, lines: Sequence[str], index: int) -> Block:
        """Convert the block that begins at a line."""

    def blocks(self, lines: Sequence[str]) -> list[str]:
        """Convert all blocks of `lines`, and keep the blank lines between them."""
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
        """Convert the blocks within another; only those of a container (`titled`) may hold titles."""
        if self.depth >= self.DEEPEST:
            return list(lines)
        outside, self.titled = self.titled, self.titled and titled
        self.depth += 1
        made = self.blocks(lines)
        self.depth -= 1
        self.titled = outside
        return made


def markdown_text(lines: Sequence[str], source: str) -> str:
    """Join `lines` into a text that ends as `source` does."""
    written = "\n".join(lines)
    return written + "\n" if written and source.endswith("\n") else written


def list_items(
    item: Callable[[int], Block | None], lines: Sequence[str], index: int, *, tight: bool = False
) -> Block | None:
    """Convert items until `item` gives None, and keep the blank lines between them unless `tight`."""
    written: list[str] = []
    begin = end = index
    while index < len(lines) and (found := item(index)) is not None:
        written += found[0] if tight else [""] * (index - end) + found[0]
        end = found[1]
        index = next_text(lines, end)
    return (written, end) if end > begin else None


def next_text(lines: Sequence[str], index: int) -> int:
    return run_end(lines, index, operator.not_)


def run_end(lines: Sequence[str], index: int, belongs: Callable[[str], object]) -> int:
    """Find the first line from `index` on that does not belong to the run."""
    while index < len(lines) and belongs(lines[index]):
        index += 1
    return index


def indented_end(lines: Sequence[str], index: int) -> int:
    """Find the line after the indented block that begins at `index`, without the blank lines after it."""
    end = run_end(lines, index, lambda line: line[:1] in ("", " "))
    while end > index and not lines[end - 1]:
        end -= 1
    return end
