"""Turns the text of roff into Markdown: escapes, fonts, arguments of macros."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import cycle

from nima_cli.engine.data.ingest.formats.writing import code_span

_NAME = r"\((?:..)|\[[^\]\n]{0,60}\]|."
_ESCAPE = re.compile(
    rf"""\\(?:f(?P<font>{_NAME})|\*(?P<string>{_NAME})|(?P<glyph>\(..|\[[^\]\n]{{0,60}}\])
    |[ABbDHhLlNoRSvwXxZ](?P<quoted>'[^'\n]{{0,400}}')|s[+-]?(?:\(..|\[[^\]\n]{{0,9}}\]|'[^'\n]{{0,9}}'|\d{{1,2}})
    |[gkmMnVY](?:{_NAME})|(?P<comment>["\#].*)|(?P<one>.))""",
    re.VERBOSE,
)
_ARGUMENT = re.compile(r'[ \t]*(?:"((?:[^"]|"")*)"?|((?:\\[ ]|[^ \t])+))')
_ONE = {
    "-": "-", "e": "\\", "\\": "\\", "E": "\\", ".": ".", "'": "'", "`": "`", " ": " ", "~": " ", "0": " ", "t": "\t",
    "_": "_", "(": "(",
}  # fmt: skip
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
        """Convert one line of code, without marks."""
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
