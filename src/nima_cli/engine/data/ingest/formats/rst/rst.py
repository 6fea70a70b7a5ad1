"""Turns reStructuredText, docutils' and Sphinx's, into Markdown; no file makes it fail, since other lines are text."""

import re
from collections.abc import Callable, Sequence

from nima_cli.engine.data.ingest.formats.blocks import Block, Converter, indented_end, markdown_text, next_text, run_end
from nima_cli.engine.data.ingest.formats.rst import lists, tables
from nima_cli.engine.data.ingest.formats.rst.directives import directive_lines
from nima_cli.engine.data.ingest.formats.rst.inline import Inline, References
from nima_cli.engine.data.ingest.formats.writing import dedented, fence, joined, labelled, quoted, table

# Tabs before the text are eight spaces each; tabs inside it stay.
_TABS = re.compile(r"^\t+", re.MULTILINE)
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_DIRECTIVE = re.compile(r"\.\. +(?P<name>[A-Za-z0-9][\w.+-]{0,60}(?::[\w.+-]{1,60}){0,3}) ?::(?: +(?P<argument>.*))?$")
_NOTE = re.compile(r"\.\. \[(?P<mark>#?[A-Za-z0-9][\w.-]{0,60}|#|\*)\](?: +(?P<text>.*))?$")
_PEP = re.compile(r"PEP: *(?P<number>\d{1,9})\nTitle: *(?P<title>[^\n]*(?:\n[ \t]+[^\n]*)*)\n")
_HEADER = re.compile(r"[A-Z][A-Za-z-]{1,40}:(?: +|$)")
_NO_QUOTE = re.compile(r"[-*+] |\d{1,9}[.)] |```|>|\||`[^`]*`$|\$\$")
# Begin a block rather than code whose lines are quoted.
_BLOCK_MARKS = (".. ", "* ", "- ", "__ ", ":", "``", "`")


def rst_to_markdown(text: str) -> str:
    """Convert reStructuredText with LF line ends; text without markup stays as it is."""
    untabbed = _TABS.sub(lambda tabs: " " * (8 * len(tabs[0])), text) if "\t" in text else text
    lines = [*map(str.rstrip, untabbed.split("\n"))]
    converter = _Rst(lines)
    header = _PEP.match(text)
    end = run_end(lines, 0, bool) if header is not None else 0
    head = converter.pep_header(header, lines[:end]) if header is not None else []
    return markdown_text(joined(head, converter.blocks(lines[end:])), text)


class _Rst(Converter):
    def __init__(self, lines: Sequence[str]) -> None:
        self._marks = Inline(References(lines))
        super().__init__(self._marks.convert)
        self._levels: dict[str, int] = {}
        self._first_level = 1

    def pep_header(self, match: re.Match[str], lines: Sequence[str]) -> list[str]:
        """Convert the header of a Python Enhancement Proposal to a title and a list; other titles begin at level 2."""
        self._first_level = 2
        fields: list[str] = []
        for line in lines:
            if _HEADER.match(line) or not fields:
                fields.append(line)
            else:
                fields[-1] += " " + line.strip()
        shown = [field for field in fields if not field.startswith(("PEP:", "Title:", "Version:", "Last-Modified:"))]
        title = self.inline(" ".join(match["title"].split()))
        return [f"# PEP {match['number']}: {title}", "", *(f"- {self.inline(field)}" for field in shown)]

    def block(self, lines: Sequence[str], index: int) -> Block:
        line = lines[index]
        first = line[0]
        if first in _PUNCTUATION and line == first * len(line) and (ruled := self._ruled(lines, index)) is not None:
            return ruled
        handler = _HANDLERS.get(first)
        if handler is None and line[1:2] in (".", ")") and first.isalpha():
            handler = lists.numbers
        found = handler(self, lines, index) if handler is not None else None
        return found or self._paragraph(lines, index)

    def _ruled(self, lines: Sequence[str], index: int) -> Block | None:
        """Convert a title with an overline, or a transition."""
        line = lines[index]
        if index + 2 < len(lines) and len(line) > 2 and lines[index + 2] == line and self.titled:
            title = lines[index + 1].strip()
            if title and (len(title) <= len(line) or len(line) > 3):
                return self._title(title, line[0] * 2), index + 3
        if len(line) > 3 and (index + 1 == len(lines) or not lines[index + 1]):
            return ["---"], index + 1
        return None

    def _title(self, title: str, style: str) -> list[str]:
        level = self._levels.setdefault(style, len(self._levels) + self._first_level)
        return [f"{'#' * min(level, 6)} {self.inline(title)}"]

    def _paragraph(self, lines: Sequence[str], index: int) -> Block:
        under = lines[index + 1] if index + 1 < len(lines) else ""
        mark = under[:1]
        long_enough = len(under) >= min(len(lines[index]), 4) > 1
        if long_enough and self.titled and mark in _PUNCTUATION and under == mark * len(under):
            return self._title(lines[index], mark), index + 2
        end = run_end(lines, index + 1, lambda line: line[:1] not in ("", " "))
        text = "\n".join(lines[index:end])
        if text.endswith("::"):
            return self._literal(text, lines, end)
        if end == index + 1 and end < len(lines) and lines[end] and text[0] != ".":
            return lists.definition_list(self, lines, index) or ([], end)
        return self.inline(text).split("\n"), end

    def _literal(self, text: str, lines: Sequence[str], end: int) -> Block:
        """Convert a paragraph that ends in `::`, and the code after it."""
        place = next_text(lines, end)
        text = text[:-2].rstrip() if text[-3:-2].isspace() or text == "::" else text[:-1]
        written = self.inline(text).split("\n") if text else []
        first = lines[place] if place < len(lines) else ""
        if first[:1] == " ":
            stop = indented_end(lines, place)
        elif place > end and first[:1] in _PUNCTUATION and not first.startswith(_BLOCK_MARKS) and first != "..":
            stop = run_end(lines, place, lambda line: line[:1] == first[0])
        else:
            return written, end
        code = dedented(lines[place:stop])
        return joined(written, fence(code, self.language or ("pycon" if code[0].startswith(">>> ") else ""))), stop

    def _quote(self, lines: Sequence[str], index: int) -> Block:
        end = indented_end(lines, index)
        body = self.nested(dedented(lines[index:end]))
        # Lists and code are often indented for looks alone.
        return (body if body and _NO_QUOTE.match(body[0]) else quoted(body)), end

    def _line_block(self, lines: Sequence[str], index: int) -> Block | None:
        if lines[index][1:2] not in (" ", ""):
            return None
        end = run_end(lines, index, lambda line: line[:2] in ("| ", "|") or line[:1] == " ")
        text = "\n".join(line[2:] if line[0] == "|" else line.lstrip(" ") for line in lines[index:end])
        return self.inline(text).split("\n"), end

    def _doctest(self, lines: Sequence[str], index: int) -> Block | None:
        if not lines[index].startswith(">>> "):
            return None
        end = run_end(lines, index, bool)
        return fence(lines[index:end], "pycon"), end

    def _table(self, lines: Sequence[str], index: int) -> Block | None:
        end = tables.table_end(lines, index)
        if end == index:
            return lists.bullets(self, lines, index) if lines[index][0] == "+" else None
        rows = tables.table_rows(lines[index:end])
        if rows is None:
            return fence(lines[index:end]), end
        return table([[self.inline(cell) for cell in row] for row in rows]), end

    def _explicit(self, lines: Sequence[str], index: int) -> Block | None:
        """Convert what begins with two dots: directives, notes, targets, substitutions, comments."""
        line = lines[index]
        if line[1:3] not in (". ", "."):
            return None
        if line == ".." and lines[index + 1 : index + 2] in ([], [""]):
            return [], index + 1
        end = indented_end(lines, index + 1)
        content = lines[index + 1 : end]
        if (match := _DIRECTIVE.match(line)) is not None:
            return directive_lines(match["name"].lower(), (match["argument"] or "").strip(), content, self), end
        if (note := _NOTE.match(line)) is not None:
            body = self.nested([note["text"] or "", *dedented(content)])
            return labelled(f"{self._marks.defined(note['mark'])}:", body), end
        return [], end


# By the first character of a block; None leaves a paragraph.
_HANDLERS: dict[str, Callable[[_Rst, Sequence[str], int], Block | None]] = {
    " ": _Rst._quote, ".": _Rst._explicit, "|": _Rst._line_block, ">": _Rst._doctest, ":": lists.fields,
    "/": lists.options,
    "_": lambda _, lines, index: ([], index + 1) if lines[index].startswith("__ ") else None,
    **dict.fromkeys("+=", _Rst._table),
    **dict.fromkeys("-*•", lists.bullets),
    **dict.fromkeys("0123456789(#", lists.numbers),
}  # fmt: skip
