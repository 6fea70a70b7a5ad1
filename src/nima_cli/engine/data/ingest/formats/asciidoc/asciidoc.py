"""Turns AsciiDoc into Markdown; no file makes it fail, since whatever is not markup is text."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nima_cli.engine.data.ingest.formats.asciidoc.inline import Inline
from nima_cli.engine.data.ingest.formats.blocks import Block, Converter, list_items, markdown_text, next_text, run_end
from nima_cli.engine.data.ingest.formats.writing import admonition, bold, fence, indented, joined, quoted, table, term

_TITLE = re.compile(r"(?P<marks>={1,6}|#{1,6})[ \t]+(?P<text>\S.*)$")
_UNDERLINES = "=-~^+"
_UNDERLINE = re.compile(r"([=\-~^+])\1\1+$")
_ENTRY = re.compile(r":(?P<off>!?)(?P<name>[A-Za-z0-9_][\w-]{0,60})!?:(?:[ \t]+(?P<value>.*))?$")
_CONTINUED = re.compile(r" [\\+]$")
_DELIMITER = re.compile(r"(?:-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|--|```.*|[|,:!]={3,})$")
_STYLE = re.compile(r"\[(?P<style>[^\[\]]{0,500}|[^\"]{0,500}\"[^\"]{0,500}\".{0,500})\]$")
_ANCHOR = re.compile(r"\[\[[^\],]{1,300}(?:,[^\]]{0,300})?\]\]$")
_CONDITION = re.compile(r"ifn?def::[^\[\s]{0,300}\[(?P<text>.+)\]$")
# Lines that are not shown.
_GONE = re.compile(
    r"(?:(?:ifn?def|ifeval)::[^\[\s]{0,300}\[.*\]|endif::.*|include::.*\[.*\]|toc::\[.*\]|<<<|comment::.*|//(?!//).*)$"
)
_INTERRUPTS = re.compile(rf"\+$|{_STYLE.pattern}|{_DELIMITER.pattern}|(?:ifn?def|ifeval|endif|include)::")
_ADMONITION = re.compile(r"(?P<label>NOTE|TIP|IMPORTANT|WARNING|CAUTION):[ \t]+(?P<text>.*)$")
_BLOCK_MACRO = re.compile(r"(?:image|video|audio)::[^\[]{0,1000}\[(?P<text>[^\]]{0,1000})\]$")
_AUTHOR = re.compile(r"[\w.'-]+(?: [\w.'-]+){1,3}(?: <[^<>\s]+>)?(?:;|$)")
_REVISION = re.compile(r"v?\d[\w.]*(?:,|$)")
_LABELS = frozenset({"NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION"})
_BODY_STYLES = _LABELS | {"quote", "verse"}
_CODE_STYLES = frozenset({"source", "listing", "literal", "console"})
_ITEM = re.compile(
    r"[ \t]*(?:(?P<marks>\*{1,6}|-|•|\.{1,6})|(?P<callout><(?:\d{1,3}|\.)>)|\d{1,9}\.|[a-zA-Z]\.)"
    r"[ \t]+(?P<text>\S.*)$"
)
_TERM = re.compile(r"[ \t]*(?P<term>\S(?:.{0,300}?\S)??)(?P<marks>:{2,4}|;;)(?:[ \t]+(?P<text>\S.*))?$")
# What begins a cell of a table, and how many columns a table has.
_CELL = re.compile(r"(?<!\\)(?:(?P<times>\d{1,3})\*)?(?:[\d.]{0,7}\+)?[<^>.]{0,4}[aehlmsdv]?(?<!\\)\|")
_COLUMNS = re.compile(r'cols="([^"]*)"|cols=([^",]*)')


@dataclass(slots=True)
class _Attributes:
    style: str = ""
    more: list[str] = field(default_factory=list)
    title: str = ""


def asciidoc_to_markdown(text: str) -> str:
    """Convert AsciiDoc with LF line ends; text without markup stays as it is."""
    lines = [*map(str.rstrip, text.split("\n"))]
    return markdown_text(_AsciiDoc(lines).blocks(lines), text)


class _AsciiDoc(Converter):
    """Converts the blocks of one file; attributes hold from where they are set."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._marks = Inline()
        super().__init__(self._marks.convert)
        self._over = _Attributes()
        # By delimiter, for each of the current lines with it, the next one.
        self._closings: dict[str, dict[int, int]] = {}
        anchor = ""
        for line in filter(None, lines):
            if (title := _TITLE.match(line)) is not None:
                text = title["text"]
                for name in ("_" + re.sub(r"[^\w]+", "_", text.lower()).strip("_"), anchor):
                    self._marks.titles.setdefault(name, text)
            found = re.match(r"\[(?:\[|#)([^\],.%]{1,300})", line)
            anchor = found[1] if found is not None else ""

    def nested(self, lines: Sequence[str], titled: bool = False) -> list[str]:
        outside = self._over, self._closings
        self._over, self._closings = _Attributes(), {}
        made = super().nested(lines, titled)
        self._over, self._closings = outside
        return made

    def block(self, lines: Sequence[str], index: int) -> Block:
        line = lines[index]
        if (condition := _CONDITION.match(line)) is not None:
            return self.nested([condition["text"]]), index + 1
        if _GONE.match(line) or self._says_of_next(line):
            return [], index + 1
        if (entry := _ENTRY.match(line)) is not None:
            return [], self._set(entry, lines, index)
        over, self._over = self._over, _Attributes()
        if _DELIMITER.match(line):
            made, after = self._delimited(lines, index, over)
        elif (heading := self._heading(lines, index)) is not None:
            return heading
        elif line in ("'''", "---", "***", "- - -", "* * *"):
            made, after = ["---"], index + 1
        elif (picture := _BLOCK_MACRO.match(line)) is not None:
            alt = self.inline(picture["text"].split(",")[0].strip('"'))
            made, after = [alt] if alt and "=" not in alt else [], index + 1
        else:
            made, after = self._list(lines, index) or self._paragraph(lines, index, over)
        return (joined(bold(self.inline(over.title)), made) if made else []), after

    def _says_of_next(self, line: str) -> bool:
        """Take in a line that only describes the block after it."""
        if _ANCHOR.match(line):
            return True
        if (style := _STYLE.match(line)) is not None:
            words = [word.strip() for word in style["style"].split(",")]
            if "=" not in words[0]:
                self._over.style = re.split(r"[.#%]", words.pop(0))[0].strip('"')
            self._over.more = words or self._over.more
            return True
        if line[0] == "." and line[1:2] not in ("", ".", " ") and _item_of(line) is None:
            self._over.title = line[1:]
            return True
        return False

    def _set(self, entry: re.Match[str], lines: Sequence[str], index: int) -> int:
        """Set an attribute, whose value may have several lines; returns the line after it."""
        after = index + 1
        while after < len(lines) and _CONTINUED.search(lines[after - 1]):
            after += 1
        parts = (_CONTINUED.sub("", part).strip() for part in (entry["value"] or "", *lines[index + 1 : after]))
        value, name = self._marks.resolved(" ".join(parts)), entry["name"].lower()
        if entry["off"]:
            self._marks.attributes.pop(name, None)
        else:
            self._marks.attributes[name] = value
        return after

    def _heading(self, lines: Sequence[str], index: int) -> Block | None:
        """Convert a title of one line, or of two whose lengths differ by one at most."""
        line, under = lines[index], lines[index + 1] if index + 1 < len(lines) else ""
        if (title := _TITLE.match(line)) is not None:
            level, text, after = len(title["marks"]), title["text"].removesuffix(f" {title['marks']}"), index + 1
        elif _UNDERLINE.match(under) and line[0].isalnum() and abs(len(under) - len(line)) < 2:
            level, text, after = _UNDERLINES.index(under[0]) + 1, line, index + 2
        else:
            return None
        if level == 1 and index == 0 and after < len(lines) and _AUTHOR.match(lines[after]):
            after += 1
            after += after < len(lines) and _REVISION.match(lines[after]) is not None
        return [f"{'#' * level} {self.inline(text)}"], after

    def _delimited(self, lines: Sequence[str], index: int, over: _Attributes) -> Block:
        mark = lines[index]
        delimiter = "```" if mark.startswith("```") else mark
        if delimiter not in self._closings:
            places = [place for place, line in enumerate(lines) if line == delimiter or line[:3] == delimiter == "```"]
            self._closings[delimiter] = dict(pairwise(places))
        end = self._closings[delimiter].get(index, len(lines))
        inner, after = lines[index + 1 : end], end + 1
        if mark[0] == "/":
            return [], after
        if mark[-3:] == "===" and mark[0] in "|,:!":
            rows = _table_rows(inner, mark[0], ",".join([over.style, *over.more]))
            return table([[" ".join(self._text(cell.split("\n"))) for cell in row] for row in rows]), after
        if mark[0] == "+":
            return (fence(inner, "latex") if over.style in ("stem", "latexmath") else list(inner)), after
        if (mark[0] in "-.`" and mark != "--") or over.style in _CODE_STYLES:
            return self._code(inner, over, mark), after
        style = over.style if over.style in _BODY_STYLES else {"_": "quote", "*": "sidebar"}.get(mark[0], "")
        return _styled(style, self.nested(inner, titled=True), over), after

    def _code(self, inner: Sequence[str], over: _Attributes, mark: str = "") -> list[str]:
        language = mark[3:].strip() if mark.startswith("```") else ""
        if over.style in ("source", "") and over.more and "=" not in over.more[0] and over.more[0]:
            language = over.more[0]
        elif over.style == "source" and not language:
            language = self._marks.attributes.get("source-language", "")
        elif over.style == "console":
            language = "console"
        attributes = "subs" in " ".join(over.more)
        lines = [self._marks.resolved(line) if attributes and "{" in line else line for line in inner]
        return fence(lines, language.strip('"%').lower())

    def _paragraph(self, lines: Sequence[str], index: int, over: _Attributes) -> Block:
        end = run_end(lines, index + 1, _goes_on)
        text = lines[index:end]
        if text[0][0] == " " or over.style in _CODE_STYLES:
            return self._code(text, over), end
        if (noted := _ADMONITION.match(text[0])) is not None:
            return _styled(noted["label"], self._text([noted["text"], *text[1:]]), over), end
        return _styled(over.style, self._text(text), over), end

    def _text(self, lines: Sequence[str]) -> list[str]:
        shown = [line.removesuffix(" +") for line in lines if not line.startswith("//")]
        return self.inline("\n".join(shown)).split("\n") if shown else []

    def _list(self, lines: Sequence[str], index: int) -> Block | None:
        """Convert a list and the blocks in its items; new marks go a level deeper."""
        # Items by the marks of the open levels.
        counts: dict[str, int] = {}

        def item(place: int) -> Block | None:
            found = _item_of(lines[place])
            if found is None:
                return None
            kind = found["marks"] or ("<" if found["callout"] else ".1")
            if kind in counts:
                while next(reversed(counts)) != kind:
                    counts.popitem()
            counts[kind] = counts.get(kind, 0) + 1
            body, after = self._item_body(lines, place, found["text"])
            if kind[0] in ":;":
                made = term(self.inline(found["term"]), body)
            else:
                made = indented(f"{counts[kind]}." if kind[0] in ".<" else "-", body)
            margin = "".join("   " if level[0] in ".<" else "  " for level in [*counts][:-1])
            return [margin + line if line else "" for line in made], after

        return list_items(item, lines, index)

    def _item_body(self, lines: Sequence[str], index: int, text: str | None) -> Block:
        """Convert the text of an item, and the blocks that `+` adds to it."""
        paragraph = [text] if text else []
        index += 1
        if not text:
            index = next_text(lines, index)
            if index < len(lines) and _item_of(lines[index]) is not None:
                return [], index
        while index < len(lines) and _goes_on(lines[index]):
            if _ITEM.match(lines[index]) or (_TERM.match(lines[index]) and paragraph):
                break
            paragraph.append(lines[index].lstrip(" \t"))
            index += 1
        body = self._text(paragraph)
        while index + 1 < len(lines) and lines[index] == "+" and self.depth < self.DEEPEST:
            index = next_text(lines, index + 1)
            made: list[str] = []
            self.depth += 1
            while index < len(lines) and not made and lines[index] != "+":
                made, index = self.block(lines, index) if lines[index] else ([], index + 1)
            self.depth -= 1
            body = joined(body, made)
        return body, index


def _goes_on(line: str) -> bool:
    return bool(line) and _INTERRUPTS.match(line) is None


def _item_of(line: str) -> re.Match[str] | None:
    return _ITEM.match(line) or _TERM.match(line)


def _styled(style: str, body: list[str], over: _Attributes) -> list[str]:
    if style in _LABELS:
        return admonition(style.capitalize(), body)
    if style not in _BODY_STYLES:
        return quoted(body) if style == "sidebar" else body
    said_by = ", ".join(word.strip('"') for word in over.more if word and "=" not in word)
    return quoted([*body, "", f"— {said_by}"] if said_by and body else body)


def _table_rows(lines: Sequence[str], mark: str, attributes: str) -> list[list[str]]:
    """Read a table, its head first (empty if it has none); `mark` is the first character of its delimiter."""
    if mark in ",:" or "format=csv" in attributes.replace('"', ""):
        try:
            rows = [row for row in csv.reader(lines, delimiter=":" if mark == ":" else ",") if row]
        except csv.Error:
            rows = [[line] for line in lines if line]
        headed = len(lines) > 1 and not lines[1]
    else:
        rows, headed = _barred(lines, attributes)
    if "header" in attributes:
        headed = "noheader" not in attributes
    return rows if headed or not rows else [[], *rows]


def _barred(lines: Sequence[str], attributes: str) -> tuple[list[list[str]], bool]:
    cells: list[str] = []
    first_width = 0
    headed = False
    for index, line in enumerate(lines):
        matches = list(_CELL.finditer(line)) if "|" in line else []
        before = line[: matches[0].start()].strip() if matches else line
        if cells and before:
            cells[-1] = f"{cells[-1]}\n{before}" if cells[-1] else before
        elif not line and not headed and first_width and lines[index - 1][:1] == "|":
            # A blank line after the first row makes it the head.
            headed = len(cells) == first_width
        for match, end in zip(matches, [*(match.start() for match in matches[1:]), len(line)], strict=False):
            cells += [line[match.end() : end].strip().replace("\\|", "|")] * min(int(match["times"] or 1), 50)
        first_width = first_width or len(cells)
    width = first_width
    if (named := _COLUMNS.search(attributes)) is not None:
        times = (re.match(r"\s*(\d{1,2})\*", part) for part in re.split(r"[,;]", named[1] or named[2] or ""))
        width = sum(int(match[1]) if match is not None else 1 for match in times) or first_width
    return [cells[start : start + width] for start in range(0, len(cells), width)] if width else [], headed
