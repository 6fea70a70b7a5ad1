"""The blocks of a manual page as they are gathered: paragraphs, items in items, code; knows neither roff nor macros."""

from dataclasses import dataclass, field

from nima_cli.engine.data.ingest.formats.writing import fence, indented, table, term

# What is nested deeper than anyone writes is not nested any more.
_DEEPEST = 16


@dataclass(slots=True)
class _Frame:
    """Something open: the page, an indented part (`mark` None), a list, or an item (its mark or term)."""

    kind: str
    mark: str = ""
    body: list[str] = field(default_factory=list)
    after_item: bool = False


class Page:
    """A page that is being written."""

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
        if self.words and self.words[-1]:
            self.words.append("")

    def paragraph(self) -> None:
        """End the paragraph; in code this is a blank line."""
        if self._code is not None:
            self._code.append("")
        elif self.words:
            self.add(self._joined())

    def _joined(self) -> list[str]:
        """The paragraph: macros break its source in so many places that only its own breaks are kept."""
        words, self.words = self.words, []
        lines: list[list[str]] = [[]]
        for word in words:
            if word:
                lines[-1].append(word)
            elif lines[-1]:
                lines.append([])
        return [" ".join(line) for line in lines if line]

    def add(self, lines: list[str], item: bool = False) -> None:
        """A block of its own."""
        frame = self._stack[-1]
        if not lines:
            return
        if frame.body and not (item and frame.after_item and "" not in lines):
            frame.body.append("")
        frame.body += lines
        frame.after_item = item and "" not in lines

    def heading(self, level: int, text: str) -> None:
        """A heading, which ends all that is open."""
        self.close()
        if text.strip():
            self.add([f"{'#' * level} {text.strip()}"])

    def code(self, begin: bool) -> None:
        """Begin or end code; what is neither is no mistake."""
        if begin and self._code is None:
            self.paragraph()
            self._code = []
        elif not begin and self._code is not None:
            lines, self._code = self._code, None
            self.add(fence(lines))

    def table(self, rows: list[list[str]]) -> None:
        """A table whose first row is its head."""
        self.paragraph()
        if rows:
            self.add(table(rows))

    def open(self, kind: str, mark: str = "") -> None:
        """Open an indented part (`part`) or an `item`, whose mark is `-`, `1.` or a term."""
        self.code(begin=False)
        self.paragraph()
        if len(self._stack) < _DEEPEST:
            self._stack.append(_Frame(kind, mark))
        elif kind == "item" and mark not in ("", "-"):
            self.add([mark])

    def open_part(self) -> None:
        """Open an indented part; a short line right before it is the term that it describes."""
        named = not self.in_code and sum(map(len, self.words)) <= 160 and self.words
        if named and "" not in self.words and self.words[-1][-1] not in ".:;,":
            self.open("part", self._joined()[0])
        else:
            self.open("part")

    def close_item(self) -> None:
        """End the item that is open in the part at hand, if any."""
        self.code(begin=False)
        self.paragraph()
        if self._stack[-1].kind == "item":
            self._pop()

    def close_part(self) -> None:
        """End the indented part at hand with the items in it, if one is open."""
        if not any(frame.kind == "part" for frame in self._stack):
            return self.close_item()
        self.close_item()
        self.paragraph()
        if self._stack[-1].kind == "part":
            self._pop()
        return None

    def close(self) -> list[str]:
        """End all that is open; the lines of the page."""
        self.code(begin=False)
        self.paragraph()
        while len(self._stack) > 1:
            self._pop()
        return self._stack[0].body

    def _pop(self) -> None:
        self.paragraph()
        frame = self._stack.pop()
        if frame.kind == "part" and not frame.mark:
            self.add(frame.body)
        elif frame.mark == "-" or (frame.mark[:-1].isdigit() and frame.mark[-1:] == "."):
            self.add(indented(frame.mark, frame.body), item=True)
        else:
            self.add(term(frame.mark, frame.body), item=True)
