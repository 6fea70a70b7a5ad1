"""Collects the blocks of a manual page: paragraphs, nested items, code, tables."""

from dataclasses import dataclass, field
from itertools import groupby

from nima_cli.engine.data.ingest.formats.writing import fence, indented, table, term

# Deeper blocks are not nested any more.
_DEEPEST = 16


@dataclass(slots=True)
class _Frame:
    """An open block: the page, an indented `part`, or an `item` with its mark or term."""

    kind: str
    mark: str = ""
    body: list[str] = field(default_factory=list)
    after_item: bool = False


class Page:
    """A page that is being written.

    Attributes:
        words: of the current paragraph; an empty one breaks the line.
        code: the lines of the current code block; None outside of code.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.code: list[str] | None = None
        self._stack = [_Frame("page")]

    def text(self, line: str) -> None:
        """Add a line to the paragraph or the code."""
        if self.code is not None:
            self.code.append(line)
        elif line.strip():
            self.words.append(line.strip())

    def line_break(self) -> None:
        """Begin a new line in the paragraph."""
        if self.words:
            self.words.append("")

    def paragraph(self) -> None:
        """End the paragraph; in code this is a blank line."""
        if self.code is not None:
            self.code.append("")
        elif self.words:
            self._add(self._joined())

    def _joined(self) -> list[str]:
        """End the paragraph and join its words into lines; line ends of the source do not count."""
        words, self.words = self.words, []
        return [" ".join(line) for filled, line in groupby(words, bool) if filled]

    def _add(self, lines: list[str], item: bool = False) -> None:
        frame = self._stack[-1]
        tight = item and "" not in lines
        if frame.body and lines and not (tight and frame.after_item):
            frame.body.append("")
        frame.body += lines
        frame.after_item = tight if lines else frame.after_item

    def heading(self, level: int, text: str) -> None:
        """Add a heading, which closes all blocks."""
        self.close()
        if text.strip():
            self._add([f"{'#' * level} {text.strip()}"])

    def title(self, name: str = "", section: str = "") -> None:
        """Add the heading of the page."""
        self.heading(1, f"{name}({section})" if name and section else name)

    def begin_code(self) -> None:
        """Take the lines that follow as code."""
        if self.code is None:
            self.paragraph()
            self.code = []

    def end_code(self) -> None:
        """End the code, if any."""
        if self.code is not None:
            lines, self.code = self.code, None
            self._add(fence(lines))

    def table(self, rows: list[list[str]]) -> None:
        """Add a table whose first row is its head."""
        self.paragraph()
        self._add(table(rows))

    def open(self, kind: str, mark: str = "") -> None:
        """Open an indented `part` or an `item`, whose mark is `-`, `1.` or a term."""
        self.end_code()
        self.paragraph()
        if len(self._stack) < _DEEPEST:
            self._stack.append(_Frame(kind, mark))
        elif kind == "item" and mark not in ("", "-"):
            self._add([mark])

    def open_part(self) -> None:
        """Open an indented part; a short line right before it is the term that it describes."""
        short = self.code is None and self.words and sum(map(len, self.words)) <= 160
        named = short and "" not in self.words and self.words[-1][-1] not in ".:;,"
        self.open("part", self._joined()[0] if named else "")

    def close_part(self) -> None:
        """Close the innermost part and the item in it."""
        self.close_last("item")
        self.close_last("part")

    def close(self) -> list[str]:
        """Close all blocks, and return the lines of the page."""
        self.end_code()
        self.paragraph()
        while len(self._stack) > 1:
            self.close_last(self._stack[-1].kind)
        return self._stack[0].body

    def close_last(self, kind: str) -> None:
        """Close the innermost block if it is of this kind."""
        self.end_code()
        self.paragraph()
        if self._stack[-1].kind != kind:
            return
        frame = self._stack.pop()
        if kind == "part" and not frame.mark:
            self._add(frame.body)
        elif frame.mark == "-" or (frame.mark[:-1].isdigit() and frame.mark[-1:] == "."):
            self._add(indented(frame.mark, frame.body), item=True)
        else:
            self._add(term(frame.mark, frame.body), item=True)
