"""Turns AsciiDoc into Markdown: one pass over the lines, blocks within blocks in turn.

It reads what a page would show. Nothing in a file makes it fail: what is no markup is text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nima_cli.engine.data.ingest.formats.asciidoc.inline import Inline
from nima_cli.engine.data.ingest.formats.asciidoc.lists import begins_item, list_lines
from nima_cli.engine.data.ingest.formats.asciidoc.tables import table_rows
from nima_cli.engine.data.ingest.formats.writing import admonition, fence, quoted, table

_DEEPEST = 16
_TITLE = re.compile(r"(?P<marks>={1,6}|#{1,6})[ \t]+(?P<text>\S.*)$")
_ENTRY = re.compile(r":(?P<off>!?)(?P<name>[A-Za-z0-9_][\w-]{0,60})!?:(?:[ \t]+(?P<value>.*))?$")
_DELIMITER = re.compile(r"(?:-{4,}|\.{4,}|={4,}|\*{4,}|_{4,}|\+{4,}|/{4,}|--|```.*|[|,:!]={3,})$")
_STYLE = re.compile(r"\[(?P<style>[^\[\]]{0,500}|.{0,500}\".{0,500}\".{0,500})\]$")
_ANCHOR = re.compile(r"\[\[(?P<name>[^\],]{1,300})(?:,[^\]]{0,300})?\]\]$")
_CONDITION = re.compile(r"(?:ifdef|ifndef|ifeval)::[^\[\s]{0,300}\[(?P<text>.*)\]$")
_GONE = re.compile(r"(?:endif::.*|include::.*\[.*\]|toc::\[.*\]|<<<|comment::.*)$")
_ADMONITION = re.compile(r"(?P<label>NOTE|TIP|IMPORTANT|WARNING|CAUTION):[ \t]+(?P<text>.*)$")
_BLOCK_MACRO = re.compile(r"(?P<macro>image|video|audio)::(?P<target>[^\[]{0,1000})\[(?P<text>[^\]]{0,1000})\]$")
_AUTHOR = re.compile(r"[\w.'-]+(?: [\w.'-]+){1,3}(?: <[^<>\s]+>)?(?:;|$)")
_REVISION = re.compile(r"v?\d[\w.]*(?:,|$)")
_UNDERLINES = "=-~^+"
_LABELS = frozenset({"NOTE", "TIP", "IMPORTANT", "WARNING", "CAUTION"})
_CODE_STYLES = frozenset({"source", "listing", "literal", "console"})


@dataclass(slots=True)
class _Attributes:
    """What stands over a block: its style and what comes after, its title."""

    style: str = ""
    more: list[str] = field(default_factory=list)
    title: str = ""


def asciidoc_to_markdown(text: str) -> str:
    """`text`, AsciiDoc, as Markdown; a text without markup comes back as it was.

    Args:
        text: with LF line ends.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    written = "\n".join(_Converter(lines).blocks(lines))
    return written + "\n" if text.endswith("\n") and written else written


class _Converter:
    """Converts the blocks of one file; attributes hold from where they are set."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.inline = Inline()
        self._depth = 0
        self._over = _Attributes()
        # By delimiter, for the lines at hand.
        self._closings: dict[str, dict[int, int]] = {}
        self._find_titles(lines)

    def _find_titles(self, lines: Sequence[str]) -> None:
        anchor = ""
        for line in lines:
            title = _TITLE.match(line) if line[:1] in ("=", "#") else None
            if title is not None:
                text = title["text"]
                self.inline.titles.setdefault("_" + re.sub(r"[^\w]+", "_", text.lower()).strip("_"), text)
                if anchor:
                    self.inline.titles.setdefault(anchor, text)
            if line:
                found = re.match(r"\[(?:\[|#)([^\],.%]{1,300})", line)
                anchor = found[1] if found is not None else ""

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
                    written += [""] * max(blank, 1)
                written += made
                blank = 0
            elif not self._over.title:
                blank = min(blank, 1)
        return written

    def _nested(self, lines: Sequence[str]) -> list[str]:
        if self._depth >= _DEEPEST:
            return list(lines)
        outside = self._over, self._closings
        self._over, self._closings = _Attributes(), {}
        self._depth += 1
        try:
            return self.blocks(lines)
        finally:
            self._depth -= 1
            self._over, self._closings = outside

    def block(self, lines: Sequence[str], index: int) -> tuple[list[str], int]:
        """The block that begins at a line in Markdown, and the line after it."""
        line = lines[index]
        if self._about(lines, index):
            return [], self._after_about(lines, index)
        condition = _CONDITION.match(line) if line.startswith("if") else None
        if condition is not None and not line.startswith("ifeval") and condition["text"]:
            return self._nested([condition["text"]]), index + 1
        if condition is not None or _GONE.match(line):
            return [], index + 1
        over, self._over = self._over, _Attributes()
        if line[0] in "-.=*_+/`|,:!" and _DELIMITER.match(line):
            made, after = self._delimited(lines, index, over)
        elif (title := _TITLE.match(line)) is not None:
            self._over.title = ""
            level = len(title["marks"])
            words = title["text"].removesuffix(f" {title['marks']}")
            return self._title(level, words), self._after_title(lines, index + 1, document=level == 1 and index == 0)
        elif (level := _underlined(lines, index)) > 0:
            return self._title(level, line), self._after_title(lines, index + 2, document=level == 1 and index == 0)
        elif line in ("'''", "---", "***", "- - -", "* * *"):
            made, after = ["---"], index + 1
        else:
            made, after = self._lines_block(lines, index, over)
        return self._with_title(over, made), after

    def _with_title(self, over: _Attributes, made: list[str]) -> list[str]:
        if not over.title or not made:
            return made
        title = self.inline.convert(over.title)
        return [title if "**" in title else f"**{title}**", "", *made]

    # What stands over a block, and lines that show nothing.

    def _about(self, lines: Sequence[str], index: int) -> bool:
        """Take in a line that only says something of what follows."""
        line = lines[index]
        first = line[0]
        if first == "[" and _ANCHOR.match(line):
            return True
        if first == "[" and (style := _STYLE.match(line)) is not None:
            words = [word.strip() for word in style["style"].split(",")]
            self._over.style = re.split(r"[.#%]", words[0])[0].strip('"') if "=" not in words[0] else self._over.style
            self._over.more = (words if "=" in words[0] else words[1:]) or self._over.more
            return True
        if first == "." and line[1:2] not in ("", ".", " ") and not begins_item(line):
            self._over.title = line[1:]
            return True
        if first == ":" and (entry := _ENTRY.match(line)) is not None:
            self._set(entry, lines, index)
            return True
        return line.startswith("//") and not line.startswith("////")

    def _after_about(self, lines: Sequence[str], index: int) -> int:
        if lines[index][0] == ":":
            while index + 1 < len(lines) and lines[index].endswith((" \\", " +")):
                index += 1
        return index + 1

    def _set(self, entry: re.Match[str], lines: Sequence[str], index: int) -> None:
        value = entry["value"] or ""
        while value.endswith((" \\", " +")) and index + 1 < len(lines) and len(value) < 10000:
            index += 1
            value = f"{value[:-2].rstrip()} {lines[index].strip()}"
        if entry["off"]:
            self.inline.attributes.pop(entry["name"].lower(), None)
        else:
            self.inline.attributes[entry["name"].lower()] = self.inline.resolved(value)

    def _title(self, level: int, text: str) -> list[str]:
        return [f"{'#' * level} {self.inline.convert(text)}"]

    def _after_title(self, lines: Sequence[str], index: int, document: bool) -> int:
        """The line after a title; that of the document may be followed by its authors and its revision."""
        if not document or index >= len(lines) or not _AUTHOR.match(lines[index]):
            return index
        index += 1
        return index + 1 if index < len(lines) and _REVISION.match(lines[index]) else index

    # Blocks between delimiters.

    def _delimited(self, lines: Sequence[str], index: int, over: _Attributes) -> tuple[list[str], int]:
        mark = lines[index]
        close = "```" if mark.startswith("```") else mark
        end = self._closing(lines, close).get(index, len(lines))
        inner, after = lines[index + 1 : end], end + 1
        if mark[0] == "/":
            return [], after
        if mark[-3:] == "===" and mark[0] in "|,:!":
            rows = table_rows(inner, mark[0], over.style, over.more)
            return table([[" ".join(self.paragraph(cell.split("\n"))) for cell in row] for row in rows]), after
        if mark[0] in "-.`" and mark != "--":
            return self._code(inner, over, mark), after
        if mark[0] == "+":
            return (fence(inner, "latex") if over.style in ("stem", "latexmath") else list(inner)), after
        if over.style in _CODE_STYLES:
            return self._code(inner, over, mark), after
        body = self._nested(inner)
        if over.style in _LABELS:
            return admonition(over.style.capitalize(), body), after
        if mark[0] == "_" or over.style in ("quote", "verse"):
            return self._quote(body, over), after
        return (quoted(body) if mark[0] == "*" else body), after

    def _closing(self, lines: Sequence[str], mark: str) -> dict[int, int]:
        """For each line with this delimiter, the next one; found once for the lines at hand."""
        if mark not in self._closings:
            places = [place for place, line in enumerate(lines) if line == mark or (mark == "```" and line[:3] == mark)]
            self._closings[mark] = dict(pairwise(places))
        return self._closings[mark]

    def _code(self, inner: Sequence[str], over: _Attributes, mark: str) -> list[str]:
        language = mark[3:].strip() if mark.startswith("```") else ""
        if over.style in ("source", "") and over.more and "=" not in over.more[0] and over.more[0]:
            language = over.more[0]
        elif over.style == "source" and not language:
            language = self.inline.attributes.get("source-language", "")
        elif over.style == "console":
            language = "console"
        attributes = "subs" in " ".join(over.more)
        lines = [self.inline.resolved(line) if attributes and "{" in line else line for line in inner]
        return fence(lines, language.strip('"%').lower())

    def _quote(self, body: list[str], over: _Attributes) -> list[str]:
        said_by = ", ".join(word.strip('"') for word in over.more if word and "=" not in word)
        return quoted([*body, "", f"— {said_by}"] if said_by and body else body)

    # Paragraphs and lists.

    def _lines_block(self, lines: Sequence[str], index: int, over: _Attributes) -> tuple[list[str], int]:
        line = lines[index]
        picture = _BLOCK_MACRO.match(line) if "::" in line else None
        if picture is not None:
            alt = self.inline.convert(picture["text"].split(",")[0].strip('"'))
            return ([alt] if alt and "=" not in alt else []), index + 1
        if begins_item(line):
            return list_lines(self, lines, index)
        end = index + 1
        while end < len(lines) and lines[end] and not self.interrupts(lines[end]):
            end += 1
        text = lines[index:end]
        if line[0] == " " or over.style in _CODE_STYLES:
            return self._code(text, over, ""), end
        noted = _ADMONITION.match(line)
        if noted is not None or over.style in _LABELS:
            label = noted["label"] if noted is not None else over.style
            body = [noted["text"], *text[1:]] if noted is not None else text
            return admonition(label.capitalize(), self.paragraph(body)), end
        written = self.paragraph(text)
        return (self._quote(written, over) if over.style in ("quote", "verse") else written), end

    def paragraph(self, lines: Sequence[str]) -> list[str]:
        """A paragraph in Markdown."""
        kept = [line for line in lines if not line.startswith("//")]
        shown = [line[:-2] if line.endswith(" +") else line for line in kept]
        return self.inline.convert("\n".join(shown)).split("\n") if shown else []

    @staticmethod
    def interrupts(line: str) -> bool:
        """Whether a line ends the paragraph above it."""
        if line == "+" or (line[0] == "[" and _STYLE.match(line)):
            return True
        if line[0] in "-.=*_+/`|,:!" and _DELIMITER.match(line):
            return True
        return line.startswith(("ifdef::", "ifndef::", "ifeval::", "endif::", "include::"))


def _underlined(lines: Sequence[str], index: int) -> int:
    """The level of a title of two lines, the second as long as the first give or take one; 0 if it is none."""
    under = lines[index + 1] if index + 1 < len(lines) else ""
    if len(under) < 3 or under[0] not in _UNDERLINES or abs(len(under) - len(lines[index])) > 1:
        return 0
    titled = lines[index][0].isalnum() and under == under[0] * len(under)
    return _UNDERLINES.index(under[0]) + 1 if titled else 0
