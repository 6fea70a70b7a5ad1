"""Turns manual pages, in the macros man(7) or mdoc(7), into Markdown; nothing in a page makes it fail."""

import re
from collections.abc import Callable, Iterator

from nima_cli.engine.data.ingest.formats.roff.mdoc import Mdoc
from nima_cli.engine.data.ingest.formats.roff.page import Page
from nima_cli.engine.data.ingest.formats.roff.text import RoffText, arguments
from nima_cli.engine.data.ingest.formats.writing import link

_MAN = re.compile(r"^[.'][ \t]*(?:TH|Dd|Dt|SH|Sh|so)(?:[ \t]|$)", re.MULTILINE)
_REQUEST = re.compile(r"[.'][ \t]*(?P<name>[^\s\\\"]{0,60})(?P<rest>.*)$")
_CONDITION = re.compile(r"[ \t]*(?P<not>!?)(?P<what>'[^']*'[^']*'|\([^ ]*|[a-z](?=[ \t\\])|[^ \t]+)[ \t]*(?P<then>.*)$")
_BULLETS = frozenset({"•", "-", "*", "o", "+", "·", "–", "—", "□", "○"})
# Requests that show nothing: they lay out the page, define or measure.
_SILENT = frozenset(
    (
        *("ad", "na", "hy", "nh", "ne", "ta", "ps", "ll", "in", "ti", "nr", "rm", "rr", "tr", "fam", "lf", "pl", "po"),
        *("ss", "cs", "ce", "IX", "DT", "PD", "UC", "AT", "pc", "bd", "ec", "eo", "it", "ls", "mk", "rt", "wh", "ch"),
        *("hw", "hc", "hla", "hlm", "bp", "als", "so", "mso", "tm", "ex", "nx", "cflags", "char", "fchar", "defcolor"),
        *("evc", "ev", "di", "da", "device", "shc", "warn", "rn", "ns", "rs", "lt", "tl", "nop", "return", "rj", "Id"),
    )
)
_FONTS = {
    "B": "B", "I": "I", "R": "R", "SM": "R", "SB": "B", "BI": "BI", "BR": "BR", "IB": "IB", "IR": "IR", "RB": "RB",
    "RI": "RI", "CW": "C", "L": "C", "C": "C",
}  # fmt: skip


def is_man(text: str) -> bool:
    """Whether `text` is the source of a manual page: it begins with a request or comment and has a page's macros."""
    head = text[:20000].lstrip()
    return head.startswith((".", "'", '\\"')) and head[:3] != "..." and _MAN.search(head) is not None


def man_to_markdown(text: str) -> str:
    """`text`, the source of a manual page, as Markdown.

    Args:
        text: with LF line ends.
    """
    lines = _effective(text.split("\n"))
    lines_of_page = _Man(lines).written()
    return "\n".join(lines_of_page) + "\n" if lines_of_page else ""


def _effective(lines: list[str]) -> Iterator[str]:
    """The lines that count: without comments, definitions of macros, and branches that are not for a terminal."""
    held = ""
    closing = ""
    skipping = 0
    branch = True
    for raw in lines:
        if len(raw) > 1 and raw[-1] == "\\" and raw[-2] != "\\":
            if not raw.lstrip(".' \t").startswith('\\"') and len(held) < 10000:
                held += raw[:-1]
                continue
            raw = raw[:-1]
        line, held = held + raw, ""
        if closing:
            closing = "" if line.strip() == closing else closing
            continue
        match = _REQUEST.match(line)
        name = match["name"] if match is not None else ""
        if skipping:
            skipping += line.count("\\{") - line.count("\\}")
            skipping = max(skipping, 0)
            continue
        if match is None:
            yield line.replace("\\}", "") if "\\}" in line else line
        elif name in ("de", "de1", "am", "ig", "dei", "ami"):
            words = match["rest"].split()
            end = words[1:] if name != "ig" else words
            closing = f".{end[0]}" if end else ".."
        elif name in ("if", "ie", "el", "while"):
            rest, branch = _branch(name, match["rest"], branch)
            if rest is None:
                skipping = max(line.count("\\{") - line.count("\\}"), 0)
            elif rest:
                yield rest
        elif name or match["rest"].lstrip()[:2] not in ('\\"', "\\}", "\\#", ""):
            yield line.replace("\\}", "")


def _branch(name: str, rest: str, before: bool, depth: int = 0) -> tuple[str | None, bool]:
    """What a condition leaves of its line (None: nothing, its branch is not for a terminal), and whether it held."""
    if name == "el":
        return (None if before else rest.replace("\\{", "").strip()), before
    condition = _CONDITION.match(rest)
    if condition is None:
        return None, False
    what = condition["what"]
    holds = what == "n" or what.startswith("\\n(.g") or what == "\\n[.g]"
    holds = holds != bool(condition["not"])
    if not holds:
        return None, False
    then = condition["then"].replace("\\{", "").strip()
    nested = _REQUEST.match(then)
    # As deep as pages go; what is left of more is shown.
    if nested is not None and nested["name"] in ("if", "ie") and depth < 4:
        return _branch(nested["name"], nested["rest"], True, depth + 1)[0], True
    return then, True


class _Man:
    """Reads the lines of one page; those of mdoc are given to its own reader."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._text = RoffText()
        self._page = Page()
        self._mdoc = Mdoc(self._text, self._page)
        self._awaited: Callable[[str], None] | None = None
        self._link: tuple[str, int] | None = None
        self._requests: dict[str, Callable[[list[str]], None]] = {
            "TH": self._title, "SH": self._section, "SS": self._section_below, "TP": self._tagged, "TQ": self._tag_more,
            "IP": self._indented, "RS": lambda _: self._page.open_part(), "RE": lambda _: self._page.close_part(),
            "sp": lambda _: self._page.paragraph(), "Sp": lambda _: self._page.paragraph(),
            "br": lambda _: self._page.line_break(),
            "SY": self._synopsis, "YS": lambda _: self._page.paragraph(),
            "OP": self._option, "MR": self._reference, "ft": lambda words: self._text.set_font((words or ["P"])[0]),
            "UR": self._open_link, "MT": self._open_link, "UE": self._close_link, "ME": self._close_link,
            "ds": self._string, "TS": self._table,
            **dict.fromkeys(("PP", "P", "LP", "HP"), self._paragraph),
            **dict.fromkeys(("nf", "EX", "Vb"), lambda _: self._page.code(begin=True)),
            **dict.fromkeys(("fi", "EE", "Ve"), lambda _: self._page.code(begin=False)),
        }  # fmt: skip

    def written(self) -> list[str]:
        """The lines of the page in Markdown."""
        for line in self._lines:
            match = _REQUEST.match(line) if line[:1] in (".", "'") else None
            if match is None:
                self._shown(self._text.plain(line) if self._page.in_code else self._text.markdown(line))
            else:
                self._request(match["name"], match["rest"])
        return self._page.close()

    def _request(self, name: str, rest: str) -> None:
        if name in _FONTS:
            self._in_fonts(_FONTS[name], arguments(rest))
        elif name in self._requests:
            if name not in ("ft", "ds", "TS", "UR", "MT", "UE", "ME", "OP", "MR"):
                self._text.set_font("R")
            self._requests[name](arguments(rest) if name != "ds" else [rest.strip()])
        elif name in Mdoc.MACROS:
            self._mdoc.macro(name, arguments(rest))
        elif name not in _SILENT and rest.strip():
            self._shown(self._text.markdown(" ".join(arguments(rest))))

    def _shown(self, line: str) -> None:
        """A line of text: what was awaited (a heading, a tag), or a part of the paragraph."""
        if self._awaited is not None and line.strip():
            awaited, self._awaited = self._awaited, None
            awaited(line.strip())
        elif not line.strip():
            self._page.paragraph()
        elif line[0] == " " and not self._page.in_code and self._page.words:
            self._page.paragraph()
            self._page.text(line)
        else:
            self._page.text(line)

    def _in_fonts(self, fonts: str, words: list[str]) -> None:
        if not words:
            self._text.set_font(fonts[0])
            return
        joined = [" ".join(words)] if len(fonts) == 1 else words
        if self._page.in_code:
            self._page.text(self._text.plain("".join(joined)))
        else:
            self._shown(self._text.fonts(joined, fonts))
        self._text.set_font("R")

    def _title(self, words: list[str]) -> None:
        if words:
            section = f"({words[1]})" if len(words) > 1 and words[1] else ""
            self._page.heading(1, self._text.plain(words[0]) + section)

    def _section(self, words: list[str], level: int = 2) -> None:
        self._page.close()
        if words:
            self._page.heading(level, self._text.plain(" ".join(words)))
        else:
            self._awaited = lambda line: self._page.heading(level, line.replace("*", ""))

    def _section_below(self, words: list[str]) -> None:
        self._section(words, 3)

    def _paragraph(self, words: list[str]) -> None:
        if self._page.in_code:
            self._page.paragraph()
        else:
            self._page.close_item()

    def _tagged(self, words: list[str]) -> None:
        self._page.close_item()
        self._awaited = lambda line: self._page.open("item", line)

    def _tag_more(self, words: list[str]) -> None:
        self._tagged(words)

    def _indented(self, words: list[str]) -> None:
        if not words or not words[0].strip():
            self._page.paragraph()
            return
        self._page.close_item()
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
        self._shown(
            f"[{self._text.fonts(words[:1], 'B')}{''.join(' ' + self._text.fonts([w], 'I') for w in words[1:])}]"
        )

    def _reference(self, words: list[str]) -> None:
        if words:
            self._shown(f"{self._text.fonts(words[:1], 'B')}({''.join(words[1:2])}){''.join(words[2:3])}")

    def _open_link(self, words: list[str]) -> None:
        self._link = (self._text.plain(words[0]) if words else "", len(self._page.words))

    def _close_link(self, words: list[str]) -> None:
        if self._link is None:
            return
        target, start = self._link
        self._link = None
        shown = " ".join(self._page.words[start:])
        del self._page.words[start:]
        self._shown((link(shown, target) if shown else target) + self._text.markdown("".join(words[:1])))

    def _string(self, words: list[str]) -> None:
        name, _, value = words[0].partition(" ")
        self._text.strings[name] = RoffText().plain(value.strip().removeprefix('"'))

    def _table(self, words: list[str]) -> None:
        """A table of tbl(1): options, formats up to a full stop, rows with tabs between the cells."""
        separator = "\t"
        in_format = True
        rows: list[list[str]] = []
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
            elif line[:1] != "." and (line.strip(" _=-\t") or block is not None):
                cells = line.split(separator)
                if block is not None:
                    rows[-1][-1] = " ".join(block)
                    cells, block = cells[1:], None
                    rows[-1] += cells
                else:
                    rows.append(cells)
                if rows[-1] and rows[-1][-1].strip() == "T{":
                    block = []
        self._page.table([[self._text.markdown(cell).strip() for cell in row] for row in rows])

    def _cell_line(self, line: str) -> str:
        """A line of a cell that has several: macros for fonts may stand in it."""
        match = _REQUEST.match(line) if line[:1] in (".", "'") else None
        if match is None:
            return line
        fonts = _FONTS.get(match["name"])
        words = arguments(match["rest"])
        if fonts is None:
            return ""
        return self._text.fonts([" ".join(words)] if len(fonts) == 1 else words, fonts)
