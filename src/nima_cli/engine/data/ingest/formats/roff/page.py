"""The blocks of a manual page as they are gathered: paragraphs, items in items, code, tables."""

from dataclasses import dataclass, field
from itertools import groupby

from nima_cli.engine.data.ingest.formats.writing import fence, indented, table, term

# What is nested deeper than anyone writes is not nested any more.
_DEEPEST = 16


@dataclass(slots=True)
class _Frame:
    """Something open: the page, an indented part, or an item, with its mark or term."""

    kind: str
    mark: str = ""
    body: list[str] = field(default_factory=list)
    after_item: bool = False


class Page:
    """A page that is being written.

    Attributes:
        words: of the paragraph at hand; an empty one breaks the line.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self._stack = [_Frame("page")]
        self._code: list[str] | None = None

    @property
    def in_code(self) -> bool:
        """Whether lines are taken as code."""
        return self._code is not None

    def text(self, line: str) -> None:
        """A line of the paragraph, or of the code."""
        if self._code is not None:
            self._code.append(line)
        elif line.strip():
            self.words.append(line.strip())

    def line_break(self) -> None:
        """What follows begins on a line of its own."""
        if self.words:
            self.words.append("")

    def paragraph(self) -> None:
        """End the paragraph; in code this is a blank line."""
        if self._code is not None:
            self._code.append("")
        elif self.words:
            self._add(self._joined())

    def _joined(self) -> list[str]:
        """The paragraph: macros break its source in so many places that only its own breaks are kept."""
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
        """A heading, which ends all that is open."""
        self.close()
        if text.strip():
            self._add([f"{'#' * level} {text.strip()}"])

    def title(self, name: str = "", section: str = "") -> None:
        """The heading of the page."""
        self.heading(1, f"{name}({section})" if name and section else name)

    def begin_code(self) -> None:
        if self._code is None:
            self.paragraph()
            self._code = []

    def end_code(self) -> None:
        if self._code is not None:
            lines, self._code = self._code, None
            self._add(fence(lines))

    def table(self, rows: list[list[str]]) -> None:
        """A table whose first row is its head."""
        self.paragraph()
        self._add(table(rows))

    def open(self, kind: str, mark: str = "") -> None:
        """Open an indented part (`part`) or an `item`, whose mark is `-`, `1.` or a term."""
        self._end_paragraph()
        if len(self._stack) < _DEEPEST:
            self._stack.append(_Frame(kind, mark))
        elif kind == "item" and mark not in ("", "-"):
            self._add([mark])

    def open_part(self) -> None:
        """Open an indented part; a short line right before it is the term that it describes."""
        short = not self.in_code and self.words and sum(map(len, self.words)) <= 160
        named = short and "" not in self.words and self.words[-1][-1] not in ".:;,"
        self.open("part", self._joined()[0] if named else "")

    def close_item(self) -> None:
        """End the item that is open in the part at hand, if any."""
        self._close("item")

    def close_part(self) -> None:
        """End the indented part at hand with the items in it, if one is open."""
        self._close("item")
        self._close("part")

    def close(self) -> list[str]:
        """End all that is open; the lines of the page."""
        self._end_paragraph()
        while len(self._stack) > 1:
            self._close(self._stack[-1].kind)
        return self._stack[0].body

    def _end_paragraph(self) -> None:
        self.end_code()
        self.paragraph()

    def _close(self, kind: str) -> None:
        """End what is open last, if it is of this kind."""
        self._end_paragraph()
        if self._stack[-1].kind != kind:
            return
        frame = self._stack.pop()
        if kind == "part" and not frame.mark:
            self._add(frame.body)
        elif frame.mark == "-" or (frame.mark[:-1].isdigit() and frame.mark[-1:] == "."):
            self._add(indented(frame.mark, frame.body), item=True)
        else:
            self._add(term(frame.mark, frame.body), item=True)
