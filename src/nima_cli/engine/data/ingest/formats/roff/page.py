"""Writes a manual page: its blocks (paragraphs, nested items, code, tables), and the text in them (escapes, fonts)."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, groupby

from nima_cli.engine.data.ingest.formats.writing import code_span, fence, indented, table, term

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
    def __init__(self) -> None:
        self.words: list[str] = []  # of the current paragraph; an empty one breaks the line
        self.code: list[str] | None = None  # the lines of the current code block
        self._stack = [_Frame("page")]

    def text(self, line: str) -> None:
        if self.code is not None:
            self.code.append(line)
        elif line.strip():
            self.words.append(line.strip())

    def line_break(self) -> None:
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
        self.close()
        if text.strip():
            self._add([f"{'#' * level} {text.strip()}"])

    def title(self, name: str = "", section: str = "") -> None:
        self.heading(1, f"{name}({section})" if name and section else name)

    def begin_code(self) -> None:
        if self.code is None:
            self.paragraph()
            self.code = []

    def end_code(self) -> None:
        if self.code is not None:
            lines, self.code = self.code, None
            self._add(fence(lines))

    def table(self, rows: list[list[str]]) -> None:
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


_NAME = r"\((?:..)|\[[^\]\n]{0,60}\]|."
_ESCAPE = re.compile(
    rf"""\\(?:f(?P<font>{_NAME})|\*(?P<string>{_NAME})|(?P<glyph>\(..|\[[^\]\n]{{0,60}}\])
    |[ABbDHhLlNoRSvwXxZ](?P<quoted>'[^'\n]{{0,400}}')|s[+-]?(?:\(..|\[[^\]\n]{{0,9}}\]|'[^'\n]{{0,9}}'|\d{{1,2}})
    |[gkmMnVY](?:{_NAME})|(?P<comment>["\#].*)|(?P<one>.))""",
    re.VERBOSE,
)
_ARGUMENT = re.compile(r'[ \t]*(?:"((?:[^"]|"")*)"?|((?:\\[ ]|[^ \t])+))')
_ONE = {one: one for one in "-\\.'` _("} | {"e": "\\", "E": "\\", "~": " ", "0": " ", "t": "\t"}
_GLYPHS = {
    "aq": "'", "bu": "•", "em": "—", "en": "–", "hy": "-", "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "dq": '"',
    "co": "©", "rg": "®", "tm": "™", "mu": "×", "->": "→", "<-": "←", ">=": "≥", "<=": "≤", "!=": "≠", "+-": "±",
    "ha": "^", "ti": "~", "ga": "`", "rs": "\\", "de": "°", "ba": "|", "or": "|", "lB": "[", "rB": "]", "lC": "{",
    "rC": "}", "la": "<", "ra": ">", "sl": "/", "ul": "_", "at": "@", "sh": "#", "Do": "$", "fm": "′", "sd": "″",
    "ss": "ß", "eq": "=", "pl": "+", "mi": "−", "**": "*", "sc": "§", "dg": "†", "Eu": "€", "Po": "£", "ct": "¢",
    "<>": "↔", "ua": "↑", "da": "↓", "if": "∞", "di": "÷", "no": "¬", "lh": "☜", "Fo": "«", "Fc": "»", "12": "½",
    "oA": "Å", "oa": "å", "AE": "Æ", "ae": "æ", "/O": "Ø", "/o": "ø", "fi": "fi", "fl": "fl", "ff": "ff", "ci": "○",
    "sq": "□", "pc": "·", "md": "⋅", "~~": "≈", "~=": "≅", "==": "≡", "*m": "μ", "mc": "µ", "*p": "π", "r!": "¡",
}  # fmt: skip
_ACCENTS = {":": "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", ",": "\u0327", "v": "\u030c"}
_MARKS = {"B": "**", "I": "*", "BI": "*"}
_FONTS = {
    "1": "R", "2": "I", "3": "B", "4": "BI", "CW": "C", "CR": "C", "CB": "B", "CI": "I", "C": "C", "V": "C", "L": "C",
}  # fmt: skip
# Strings that macro packages define themselves.
_STRINGS = {"R": "®", "Tm": "™", "lq": "“", "rq": "”", "Aq": "'", "S": "", "--": "–", 'C"': "", "L": "", "q": '"'}


def arguments(text: str) -> list[str]:
    """Split the arguments of a macro: words, or what stands between double quotes."""
    return [
        match[1].replace('""', '"') if match[1] is not None else match[2] for match in _ARGUMENT.finditer(text.strip())
    ]


class RoffText:
    """Converts lines of text; a font lasts over the ends of lines."""

    def __init__(self) -> None:
        self.strings = dict(_STRINGS)
        self.font = self._before = "R"

    def set_font(self, name: str) -> None:
        """Change the font as `\\f` does; `P` is the font before."""
        name = self._before if name in ("P", "") else _FONTS.get(name, name)
        self._before, self.font = self.font, name

    def markdown(self, text: str) -> str:
        """Convert one line, with marks for its fonts."""
        runs: list[tuple[str, list[str]]] = []
        for font, words in self._runs(text):
            if not runs or (runs[-1][0] != font and words.strip()):
                runs.append((font, []))
            runs[-1][1].append(words)
        return "".join(_marked(font, "".join(words)) for font, words in runs)

    def plain(self, text: str) -> str:
        return "".join(words for _, words in self._runs(text))

    def fonts(self, words: list[str], fonts: str) -> str:
        """Join `words`, each in the next of `fonts`; one font holds for all of them, with spaces."""
        pairs = zip(cycle(fonts), [" ".join(words)] if len(fonts) == 1 else words, strict=False)
        return self.markdown("".join(f"\\f{font}{word}\\fR" if font != "R" else word for font, word in pairs))

    def _runs(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the parts of a line, some of them empty, with their fonts."""
        last = 0
        for match in _ESCAPE.finditer(text) if "\\" in text else ():
            yield self.font, text[last : match.start()]
            last = match.end()
            if match["font"] is not None:
                self.set_font(match["font"].strip("([]"))
            elif match["string"] is not None:
                yield self.font, self.strings.get(match["string"].strip("([]"), "")
            elif match["glyph"] is not None:
                yield self.font, _glyph(match["glyph"].strip("([]"))
            elif match["one"] is not None:
                yield self.font, _ONE.get(match["one"], "")
        yield self.font, text[last:]


def _glyph(name: str) -> str:
    if name in _GLYPHS:
        return _GLYPHS[name]
    if len(name) == 2 and name[0] in _ACCENTS and name[1].isalpha():
        return unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
    if name[:1] == "u" and re.fullmatch(r"u[0-9A-F]{4,5}", name):
        return chr(int(name[1:], 16))
    return name if len(name) != 2 else ""


def _marked(font: str, words: str) -> str:
    inner = words.strip()
    if not inner or font not in (*_MARKS, "C"):
        return words
    shown = code_span(inner) if font == "C" or "*" in inner else f"{_MARKS[font]}{inner}{_MARKS[font]}"
    start = words.index(inner)
    return words[:start] + shown + words[start + len(inner) :]
