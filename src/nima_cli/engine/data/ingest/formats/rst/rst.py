"""Turns reStructuredText, docutils' and Sphinx's, into Markdown: one pass over the lines, nested blocks in turn.

It reads what a page would show. Nothing in a file makes it fail: what is no markup is text.
"""

import re
from collections.abc import Callable, Sequence

from nima_cli.engine.data.ingest.formats.rst import lists, tables
from nima_cli.engine.data.ingest.formats.rst.directives import directive_lines, parse_directive
from nima_cli.engine.data.ingest.formats.rst.inline import Inline
from nima_cli.engine.data.ingest.formats.rst.references import find_references
from nima_cli.engine.data.ingest.formats.writing import dedented, fence, labelled, quoted, table

# Blocks nested deeper than anyone writes stay as they are, so that the time stays linear.
_DEEPEST = 24
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_DIRECTIVE = re.compile(r"\.\. +(?P<name>[A-Za-z0-9][\w.+-]{0,60}(?::[\w.+-]{1,60}){0,3}) ?::(?: +(?P<argument>.*))?$")
_NOTE = re.compile(r"\.\. \[(?P<mark>#?[A-Za-z0-9][\w.-]{0,60}|#|\*)\](?: +(?P<text>.*))?$")
_PEP = re.compile(r"PEP: *(?P<number>\d{1,9})\nTitle: *(?P<title>[^\n]*(?:\n[ \t]+[^\n]*)*)\n")
_HEADER = re.compile(r"(?P<name>[A-Z][A-Za-z-]{1,40}):(?: +|$)")
_NO_QUOTE = re.compile(r"[-*+] |\d{1,9}[.)] |```|>|\||`[^`]*`$|\$\$")


def rst_to_markdown(text: str) -> str:
    """`text`, reStructuredText, as Markdown; a text without markup comes back as it was.

    Args:
        text: with LF line ends.
    """
    lines = [_untabbed(line) if "\t" in line else line.rstrip() for line in text.split("\n")]
    converter = _Converter(lines)
    header = _PEP.match(text)
    head: list[str] = []
    if header is not None:
        end = next((index for index, line in enumerate(lines) if not line), len(lines))
        head, lines = converter.pep_header(header, lines[:end]), lines[end:]
    body = converter.blocks(lines)
    written = "\n".join([*head, "", *body] if head and body else head or body)
    return written + "\n" if text.endswith("\n") and written else written


def _untabbed(line: str) -> str:
    """Tabs before the text are columns of eight; those inside it are its own."""
    line = line.rstrip()
    rest = line.lstrip("\t")
    return " " * (8 * (len(line) - len(rest))) + rest


class _Converter:
    """Converts the blocks of one file; what is in force at a place is kept between them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.inline = Inline(find_references(lines))
        self.language = ""
        self._levels: dict[str, int] = {}
        self._first_level = 1
        self._depth = 0
        self._titled = True

    def blocks(self, lines: Sequence[str]) -> list[str]:
        """The blocks of `lines` in Markdown, with the blank lines that were between them."""
        written: list[str] = []
        index = blank = 0
        while index < len(lines):
            if not lines[index]:
                blank += 1
                index += 1
                continue
            made, index = self._block(lines, index)
            if made:
                if written:
                    written += [""] * max(blank, 1)
                written += made
            blank = 0
        return written

    def nested(self, lines: Sequence[str], titled: bool = False) -> list[str]:
        """The blocks of a body; only that of a container (`titled`) may hold titles."""
        if self._depth >= _DEEPEST:
            return list(lines)
        outside, self._titled = self._titled, self._titled and titled
        self._depth += 1
        try:
            return self.blocks(lines)
        finally:
            self._depth -= 1
            self._titled = outside

    def pep_header(self, match: re.Match[str], lines: Sequence[str]) -> list[str]:
        """The head of a Python Enhancement Proposal: a title and a list; the titles below it are of level 2 and on."""
        self._first_level = 2
        fields: list[str] = []
        for line in lines:
            if _HEADER.match(line) or not fields:
                fields.append(line)
            else:
                fields[-1] += " " + line.strip()
        shown = [field for field in fields if not field.startswith(("PEP:", "Title:", "Version:", "Last-Modified:"))]
        title = self.inline.convert(" ".join(match["title"].split()))
        return [f"# PEP {match['number']}: {title}", "", *(f"- {self.inline.convert(field)}" for field in shown)]

    def _block(self, lines: Sequence[str], index: int) -> tuple[list[str], int]:
        line = lines[index]
        first = line[0]
        if first in _PUNCTUATION and line == first * len(line):
            ruled = self._ruled(lines, index)
            if ruled is not None:
                return ruled
        handler = _HANDLERS.get(first)
        if handler is None and line[1:2] in (".", ")") and first.isalpha():
            handler = lists.numbers
        found = handler(self, lines, index) if handler is not None else None
        return found or self._paragraph(lines, index)

    # Titles and paragraphs.

    def _ruled(self, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
        """A title with an overline, or a transition."""
        line = lines[index]
        if index + 2 < len(lines) and len(line) > 2 and lines[index + 2] == line and self._titled:
            title = lines[index + 1].strip()
            if title and (len(title) <= len(line) or len(line) > 3):
                return self._title(title, line[0] * 2), index + 3
        if len(line) > 3 and (index + 1 == len(lines) or not lines[index + 1]):
            return ["---"], index + 1
        return None

    def _title(self, title: str, style: str) -> list[str]:
        level = self._levels.setdefault(style, len(self._levels) + self._first_level)
        return [f"{'#' * min(level, 6)} {self.inline.convert(title)}"]

    def _paragraph(self, lines: Sequence[str], index: int) -> tuple[list[str], int]:
        under = lines[index + 1] if index + 1 < len(lines) else ""
        mark = under[:1]
        long_enough = len(under) >= min(len(lines[index]), 4) > 1
        if long_enough and self._titled and mark in _PUNCTUATION and under == mark * len(under):
            return self._title(lines[index], mark), index + 2
        end = index + 1
        while end < len(lines) and lines[end] and lines[end][0] != " ":
            end += 1
        text = lines[index] if end == index + 1 else "\n".join(lines[index:end])
        if text.endswith("::"):
            return self._literal(text, lines, end)
        if end == index + 1 and end < len(lines) and lines[end] and text[0] != ".":
            return lists.definition_list(self, lines, index)
        return self.inline.convert(text).split("\n"), end

    def _literal(self, text: str, lines: Sequence[str], end: int) -> tuple[list[str], int]:
        """A paragraph that ends in `::`, and the code that it announces."""
        place = end
        while place < len(lines) and not lines[place]:
            place += 1
        text = text[:-2].rstrip() if text[-3:-2].isspace() or text == "::" else text[:-1]
        written = self.inline.convert(text).split("\n") if text else []
        if place < len(lines) and lines[place][0] == " ":
            stop = lists.indented_end(lines, place)
        elif place < len(lines) and place > end and lines[place][0] in _PUNCTUATION and not self._starts(lines, place):
            stop = place
            while stop < len(lines) and lines[stop][:1] == lines[place][0]:
                stop += 1
        else:
            return written, end
        code = dedented(lines[place:stop])
        language = self.language or ("pycon" if code[0].startswith(">>> ") else "")
        return [*written, "", *fence(code, language)] if written else fence(code, language), stop

    @staticmethod
    def _starts(lines: Sequence[str], index: int) -> bool:
        """Whether a block of its own begins here rather than quoted code."""
        return lines[index].startswith((".. ", "* ", "- ", "__ ", ":", "``", "`")) or lines[index] == ".."

    # Blocks with a mark of their own.

    def _quote(self, lines: Sequence[str], index: int) -> tuple[list[str], int]:
        end = lists.indented_end(lines, index)
        body = self.nested(dedented(lines[index:end]))
        # Lists and code are often indented for their looks alone.
        return (body if body and _NO_QUOTE.match(body[0]) else quoted(body)), end

    def _line_block(self, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
        if lines[index][1:2] not in (" ", ""):
            return None
        end = index
        while end < len(lines) and (lines[end][:2] in ("| ", "|") or (end > index and lines[end][:1] == " ")):
            end += 1
        text = "\n".join(line[2:] if line[0] == "|" else line.lstrip(" ") for line in lines[index:end])
        return self.inline.convert(text).split("\n"), end

    def _doctest(self, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
        if not lines[index].startswith(">>> "):
            return None
        end = index
        while end < len(lines) and lines[end]:
            end += 1
        return fence(lines[index:end], "pycon"), end

    def _plus(self, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
        end = tables.grid_end(lines, index) if tables.is_border(lines[index]) else index
        if end == index:
            return lists.bullets(self, lines, index)
        return self._table(lines[index:end], tables.grid_rows(lines[index:end])), end

    def _simple_table(self, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
        end = tables.simple_end(lines, index) if tables.is_rule(lines[index]) else index
        if end == index:
            return None
        return self._table(lines[index:end], tables.simple_rows(lines[index:end])), end

    def _table(self, lines: Sequence[str], rows: list[list[str]] | None) -> list[str]:
        if rows is None:
            return fence(lines)
        return table([[self.inline.convert(cell) for cell in row] for row in rows])

    def _anonymous(self, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
        return ([], index + 1) if lines[index].startswith("__ ") else None

    def _explicit(self, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
        """Directives, notes, targets, substitutions, comments: what begins with two dots."""
        line = lines[index]
        if line[1:3] not in (". ", "."):
            return None
        if line == ".." and lines[index + 1 : index + 2] in ([], [""]):
            return [], index + 1
        end = max(lists.indented_end(lines, index + 1), index + 1)
        match = _DIRECTIVE.match(line)
        if match is not None:
            content = lines[index + 1 : end]
            return directive_lines(parse_directive(match["name"], match["argument"] or "", content), self), end
        note = _NOTE.match(line)
        if note is not None:
            body = self.nested([note["text"] or "", *dedented(lines[index + 1 : end])])
            return labelled(f"{self.inline.defined(note['mark'])}:", body), end
        return [], end


_Handler = Callable[[_Converter, Sequence[str], int], tuple[list[str], int] | None]
# By the first character of a block; a handler that finds none of its own leaves a paragraph.
_HANDLERS: dict[str, _Handler] = {
    " ": _Converter._quote,
    ".": _Converter._explicit,
    "_": _Converter._anonymous,
    "|": _Converter._line_block,
    ">": _Converter._doctest,
    "+": _Converter._plus,
    "=": _Converter._simple_table,
    ":": lists.fields,
    "/": lists.options,
    **dict.fromkeys("-*•", lists.bullets),
    **dict.fromkeys("0123456789(#", lists.numbers),
}
