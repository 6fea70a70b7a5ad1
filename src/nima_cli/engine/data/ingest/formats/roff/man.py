"""Turns manual pages in the macros man(7) or mdoc(7) into Markdown; no page makes it fail."""

import re
from collections.abc import Callable, Iterator
from functools import partial

from nima_cli.engine.data.ingest.formats.roff.mdoc import MACROS, Mdoc
from nima_cli.engine.data.ingest.formats.roff.page import Page, RoffText, arguments
from nima_cli.engine.data.ingest.formats.writing import link

_REQUEST = re.compile(r"[.'][ \t]*(?P<name>[^\s\\\"]{0,60})(?P<rest>.*)$")
_CONTINUED = re.compile(r"\\\n(?<=[^\\\n]\\\n)")
_CONDITION = re.compile(r"[ \t]*(?P<not>!?)(?P<what>'[^']*'[^']*'|\([^ ]*|[a-z](?=[ \t\\])|[^ \t]+)[ \t]*(?P<then>.*)$")
_BULLETS = frozenset("•-*o+·–—□○")
# Requests that are not shown: they lay out the page, define or measure.
_SILENT = (
    *("ad", "na", "hy", "nh", "ne", "ta", "ps", "ll", "in", "ti", "nr", "rm", "rr", "tr", "fam", "lf", "pl", "po"),
    *("ss", "cs", "ce", "IX", "DT", "PD", "UC", "AT", "pc", "bd", "ec", "eo", "it", "ls", "mk", "rt", "wh", "ch"),
    *("hw", "hc", "hla", "hlm", "bp", "als", "so", "mso", "tm", "ex", "nx", "cflags", "char", "fchar", "defcolor"),
    *("evc", "ev", "di", "da", "device", "shc", "warn", "rn", "ns", "rs", "lt", "tl", "nop", "return", "rj", "Id"),
)
_FONTS = {
    "B": "B", "I": "I", "R": "R", "SM": "R", "SB": "B", "BI": "BI", "BR": "BR", "IB": "IB", "IR": "IR", "RB": "RB",
    "RI": "RI", "CW": "C", "L": "C", "C": "C",
}  # fmt: skip


def man_to_markdown(text: str) -> str:
    """Convert the source of a manual page with LF line ends."""
    lines = _Man(_effective(text)).written()
    return "\n".join(lines) + "\n" if lines else ""


def _effective(text: str) -> Iterator[str]:
    """Yield lines without comments, definitions of macros, and branches that are not for a terminal."""
    lines = iter(_CONTINUED.sub("", text).split("\n"))
    branch = True
    for line in lines:
        match = _REQUEST.match(line)
        name, rest = (match["name"], match["rest"]) if match is not None else ("", line)
        if name in ("de", "de1", "am", "ig", "dei", "ami"):
            end = rest.partition('\\"')[0].split()[0 if name == "ig" else 1 :]
            closing = f".{end[0]}" if end else ".."
            next((skipped for skipped in lines if skipped.strip() == closing), None)
        elif name in ("if", "ie", "el", "while"):
            shown, held = _branch(name, rest, branch)
            branch = held if name == "ie" else branch
            if shown:
                yield shown
            open_braces = _braces(line) if shown is None else 0
            while open_braces > 0 and (skipped := next(lines, None)) is not None:
                open_braces += _braces(skipped)
        elif match is None or name or rest.lstrip()[:2] not in ('\\"', "\\}", "\\#", ""):
            yield line.replace("\\}", "")


def _braces(line: str) -> int:
    return line.count("\\{") - line.count("\\}")


def _branch(name: str, rest: str, before: bool, depth: int = 0) -> tuple[str | None, bool]:
    """Return what a condition leaves of its line (None: the branch is not for a terminal), and whether it held."""
    if name == "el":
        return (None if before else rest.replace("\\{", "").strip()), before
    condition = _CONDITION.match(rest)
    holds = condition is not None and (condition["what"] == "n" or condition["what"].startswith(("\\n(.g", "\\n[.g]")))
    if condition is None or holds == bool(condition["not"]):
        return None, False
    then = condition["then"].replace("\\{", "").strip()
    nested = _REQUEST.match(then)
    # No page nests conditions deeper.
    if nested is not None and nested["name"] in ("if", "ie") and depth < 4:
        return _branch(nested["name"], nested["rest"], True, depth + 1)[0], True
    return then, True


class _Man:
    """Reads the lines of one page; macros of mdoc go to their own reader."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._text = RoffText()
        self._page = Page()
        self._awaited: Callable[[str], None] | None = None
        self._link: tuple[str, int] | None = None
        self._mdoc = Mdoc(self._text, self._page)

    def written(self) -> list[str]:
        for line in self._lines:
            match = _REQUEST.match(line)
            if match is None:
                self._shown(self._text.markdown(line) if self._page.code is None else self._text.plain(line))
            else:
                self._request(match["name"], match["rest"])
        return self._page.close()

    def _request(self, name: str, rest: str) -> None:
        if name in _FONTS:
            self._in_fonts(_FONTS[name], arguments(rest))
        elif name == "ft":
            self._text.set_font((arguments(rest) or ["P"])[0])
        elif name in _REQUESTS:
            self._text.set_font("R")
            _REQUESTS[name](self, arguments(rest))
        elif name in MACROS:
            self._mdoc.macro(name, arguments(rest))
        elif name == "ds":
            string, _, value = rest.strip().partition(" ")
            self._text.strings[string] = RoffText().plain(value.strip().removeprefix('"'))
        elif name not in _SILENT and rest.strip():
            self._shown(self._text.markdown(" ".join(arguments(rest))))

    def _shown(self, line: str) -> None:
        """Take a line of text as the awaited heading or tag, or as a part of the paragraph."""
        if not line.strip():
            self._page.paragraph()
        elif self._awaited is not None:
            awaited, self._awaited = self._awaited, None
            awaited(line.strip())
        else:
            if line[0] == " " and self._page.code is None:
                self._page.paragraph()
            self._page.text(line)

    def _in_fonts(self, fonts: str, words: list[str]) -> None:
        if not words:
            self._text.set_font(fonts[0])
            return
        if self._page.code is None:
            self._shown(self._text.fonts(words, fonts))
        else:
            self._page.text(self._text.plain((" " if len(fonts) == 1 else "").join(words)))
        self._text.set_font("R")

    def _section(self, words: list[str], level: int) -> None:
        self._page.close()
        if words:
            self._page.heading(level, self._text.plain(" ".join(words)))
        else:
            self._awaited = lambda line: self._page.heading(level, line.replace("*", ""))

    def _tagged(self, words: list[str]) -> None:
        self._page.close_last("item")
        self._awaited = partial(self._page.open, "item")

    def _indented(self, words: list[str]) -> None:
        if not words or not words[0].strip():
            self._page.paragraph()
            return
        self._page.close_last("item")
        mark = self._text.markdown(words[0]).strip()
        number = mark.strip("()[].")
        if mark in _BULLETS:
            mark = "-"
        elif number.isdigit() and len(number) < 4:
            mark = f"{number}."
        self._page.open("item", mark or "-")

    def _synopsis(self, words: list[str]) -> None:
        self._page.line_break()
        self._shown(self._text.fonts(words, "B"))

    def _option(self, words: list[str]) -> None:
        values = "".join(f" {self._text.fonts([word], 'I')}" for word in words[1:])
        self._shown(f"[{self._text.fonts(words[:1], 'B')}{values}]")

    def _reference(self, words: list[str]) -> None:
        if words:
            self._shown(f"{self._text.fonts(words[:1], 'B')}({''.join(words[1:2])}){''.join(words[2:3])}")

    def _paragraph(self, words: list[str]) -> None:
        if self._page.code is None:
            self._page.close_last("item")
        else:
            self._page.paragraph()

    def _open_link(self, words: list[str]) -> None:
        self._link = (self._text.plain(words[0]) if words else "", len(self._page.words))

    def _close_link(self, words: list[str]) -> None:
        if self._link is None:
            return
        (target, start), self._link = self._link, None
        shown = " ".join(self._page.words[start:])
        del self._page.words[start:]
        self._shown((link(shown, target) if shown else target) + self._text.markdown("".join(words[:1])))

    def _table(self, words: list[str]) -> None:
        """Read a table of tbl(1): options, formats up to a full stop, rows with tabs between the cells."""
        separator = "\t"
        in_format = True
        rows: list[list[str]] = []
        # The lines of an open cell of several lines.
        block: list[str] | None = None
        for line in self._lines:
            if line.startswith(".TE"):
                break
            if in_format:
                given = re.search(r"\btab[ \t]*\((.)\)", line)
                separator = given[1] if given is not None else separator
                in_format = not line.rstrip().endswith(".")
            elif block is not None and not line.startswith("T}"):
                block.append(self._cell_line(line))
            elif line.startswith(".T&"):
                in_format = True
            elif line[:1] != "." and (block is not None or line.strip(" _=-\t")):
                cells = line.split(separator)
                if block is not None:
                    rows[-1][-1:] = [" ".join(block), *cells[1:]]
                else:
                    rows.append(cells)
                block = [] if rows[-1][-1].strip() == "T{" else None
        self._page.table([[self._text.markdown(cell).strip() for cell in row] for row in rows])

    def _cell_line(self, line: str) -> str:
        """Convert a line of a cell of several lines, where macros for fonts may stand."""
        match = _REQUEST.match(line)
        if match is None:
            return line
        fonts = _FONTS.get(match["name"], "")
        return self._text.fonts(arguments(match["rest"]), fonts) if fonts else ""


_REQUESTS: dict[str, Callable[[_Man, list[str]], None]] = {
    "IP": _Man._indented, "SY": _Man._synopsis, "OP": _Man._option, "MR": _Man._reference, "TS": _Man._table,
    "UR": _Man._open_link, "MT": _Man._open_link, "UE": _Man._close_link, "ME": _Man._close_link,
    "TH": lambda man, words: man._page.title(*map(man._text.plain, words[:2])),
    "SH": lambda man, words: man._section(words, 2),
    "SS": lambda man, words: man._section(words, 3),
    "RS": lambda man, _: man._page.open_part(),
    "RE": lambda man, _: man._page.close_part(),
    "br": lambda man, _: man._page.line_break(),
    **dict.fromkeys(("TP", "TQ"), _Man._tagged),
    **dict.fromkeys(("PP", "P", "LP", "HP"), _Man._paragraph),
    **dict.fromkeys(("sp", "Sp", "YS"), lambda man, _: man._page.paragraph()),
    **dict.fromkeys(("nf", "EX", "Vb"), lambda man, _: man._page.begin_code()),
    **dict.fromkeys(("fi", "EE", "Ve"), lambda man, _: man._page.end_code()),
}  # fmt: skip
