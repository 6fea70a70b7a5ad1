"""The macros of mdoc(7), which name what words are; what they look like is decided here."""

from collections.abc import Callable

from nima_cli.engine.data.ingest.formats.roff.page import Page
from nima_cli.engine.data.ingest.formats.roff.text import RoffText
from nima_cli.engine.data.ingest.formats.writing import code_span, link

# Before and after the words of a macro.
_BOLD = ("**", "**")
_ITALIC = ("*", "*")
_CODE = ("`", "`")
_WORDS = {
    **dict.fromkeys(("Cm", "Ic", "Sy", "Nm", "Cd"), _BOLD),
    **dict.fromkeys(("Ar", "Em", "Fa", "Va", "Vt", "Ft"), _ITALIC),
    **dict.fromkeys(("Li", "Ql", "Dv", "Er", "Ev", "Pa", "Ad", "Ms", "Fd"), _CODE),
    **dict.fromkeys(("No", "Tn", "An", "Sx", "Lb", "St", "Me", "Ux", "Fr", "Sm"), ("", "")),
}
_AROUND = {
    "Op": ("[", "]"), "Aq": ("<", ">"), "Bq": ("[", "]"), "Brq": ("{", "}"), "Dq": ("“", "”"), "Sq": ("‘", "’"),
    "Pq": ("(", ")"), "Qq": ('"', '"'), "Eq": ("", ""),
}  # fmt: skip
_SINGLE = {
    "Oo": "[", "Oc": "]", "Ao": "<", "Ac": ">", "Bo": "[", "Bc": "]", "Bro": "{", "Brc": "}", "Do": "“", "Dc": "”",
    "So": "‘", "Sc": "’", "Po": "(", "Pc": ")", "Qo": '"', "Qc": '"', "Xo": "", "Xc": "", "Fo": "", "Fc": ")",
    "Eo": "", "Ec": "",
}  # fmt: skip
_SYSTEMS = {"At": "AT&T UNIX", "Bx": "BSD", "Bsx": "BSD/OS", "Nx": "NetBSD", "Fx": "FreeBSD", "Ox": "OpenBSD",
            "Dx": "DragonFly"}  # fmt: skip
_CLOSING = frozenset(".,:;)]?!")
_OPENING = frozenset("([")
_SPECIAL = frozenset({"Fl", "Xr", "Fn", "Ns", "Ap", "Pf", "Ta", "Lk", "Mt", "In", "Nd", "Ex", "Rv", *_SYSTEMS})
_CALLABLE = frozenset({*_WORDS, *_AROUND, *_SINGLE, *_SPECIAL}) - {"Nd", "Ex", "Rv", "In", "Fd", "Cd", "Sm"}
_SILENT = frozenset({"Dd", "Os", "Rs", "Re", "Bk", "Ek", "Db", "Hf", "Ud"})
_GLUE = "\0"


class Mdoc:
    """Reads the macros of a page in mdoc(7)."""

    MACROS = frozenset(
        {*_CALLABLE, *_SPECIAL, *_SILENT, "Fd", "Cd", "Sm", "Dt", "Sh", "Ss", "Pp", "Lp", "Bl", "It", "El", "Bd", "Ed"}
        | {"D1", "Dl"}
        | {f"%{letter}" for letter in "ABCDIJNOPQRTUV"}
    )

    def __init__(self, text: RoffText, page: Page) -> None:
        self._text = text
        self._page = page
        self._name = ""
        self._synopsis = False
        self._lists: list[tuple[str, int]] = []
        self._rows: list[list[str]] = []
        self._blocks: dict[str, Callable[[list[str]], None]] = {
            "Dt": self._title, "Sh": self._section,
            "Ss": lambda words: self._page.heading(3, self._line(words)), "Pp": lambda _: self._page.paragraph(),
            "Lp": lambda _: self._page.paragraph(), "Bl": self._list, "It": self._item, "El": self._end_list,
            "Bd": self._display, "Ed": self._end_display, "D1": self._one_line, "Dl": self._one_line,
            "Nd": lambda words: self._page.text(f"— {self._line(words)}"),
        }  # fmt: skip

    def macro(self, name: str, words: list[str]) -> None:
        """One line of the page that begins with a macro."""
        if name in _SILENT:
            return
        if name in self._blocks:
            self._blocks[name](words)
        elif name[0] == "%":
            self._page.text(f"{self._line(words)}{'.' if name == '%D' else ','}")
        elif name == "Nm" and not self._name and words:
            self._name = words[0]
            self._page.text(self._line([name, *words]))
        else:
            if name == "Nm" and self._synopsis:
                self._page.line_break()
            self._page.text(self._line([name, *words]))

    def _section(self, words: list[str]) -> None:
        title = self._line(words)
        self._synopsis = title == "SYNOPSIS"
        self._page.heading(2, title)

    def _line(self, words: list[str]) -> str:
        """Words and the macros between them, in Markdown, with the spaces that roff would set."""
        line = ""
        glued = True
        for piece in self._pieces(words):
            if piece == _GLUE:
                glued = True
                continue
            line += piece if glued or piece in _CLOSING else f" {piece}"
            glued = piece in _OPENING
        if self._page.in_code:
            return line.replace("**", "").replace("`", "")
        return line.replace("****", "")

    def _pieces(self, words: list[str]) -> list[str]:
        pieces: list[str] = []
        # Closing marks of macros that go to the end of the line, with where they are to stand.
        ends: list[str] = []
        index = 0
        while index < len(words):
            word = words[index]
            index += 1
            if word not in _CALLABLE and not (index == 1 and word in self.MACROS):
                pieces.append(self._text.markdown(word))
                continue
            stop = index
            while stop < len(words) and words[stop] not in _CALLABLE:
                stop += 1
            if word in _AROUND:
                opening, closing = _AROUND[word]
                pieces += [opening, _GLUE]
                ends.append(closing)
            else:
                own = words[index:stop]
                tail = _trailing(own)
                pieces += self._own(word, own[: len(own) - len(tail)])
                pieces += tail
                index = stop
        tail = _trailing(pieces) if ends else []
        pieces = pieces[: len(pieces) - len(tail)]
        for closing in reversed(ends):
            pieces += [_GLUE, closing]
        return pieces + tail

    def _own(self, name: str, words: list[str]) -> list[str]:
        """What one macro makes of the words up to the next."""
        shown = [self._text.plain(word) for word in words]
        if name in _SINGLE:
            glue_before = [_GLUE] if name[-1] == "c" else []
            glue_after = [_GLUE] if name[-1] == "o" else []
            opening = f"{code_span(shown[0])[:-1]}(`" if name == "Fo" and shown else _SINGLE[name]
            return [*glue_before, opening, *glue_after, *(shown if name != "Fo" else [])]
        if name == "Fl":
            return [f"**-{word}**" if word != "|" else word for word in shown] or ["**-**", _GLUE]
        if name == "Nm":
            return [f"**{' '.join(shown) or self._name}**"]
        if name == "Ar":
            return [f"*{word}*" if word not in ("|", "...") else word for word in shown] or ["*file* ..."]
        if name in ("Pa", "Ad") and not shown:
            return ["`~`"]
        if name in _WORDS:
            before, after = _WORDS[name]
            return [f"{before}{' '.join(shown)}{after}"] if shown else []
        return self._special(name, shown)

    def _special(self, name: str, words: list[str]) -> list[str]:
        if name in _SYSTEMS:
            return [" ".join([_SYSTEMS[name], *words])]
        if name == "Xr":
            return [f"**{words[0]}**({words[1]})" if len(words) > 1 else f"**{' '.join(words)}**"]
        if name == "Fn":
            return [code_span(f"{words[0]}({', '.join(words[1:])})")] if words else []
        if name == "In":
            return [code_span(f"#include <{' '.join(words)}>")]
        if name in ("Lk", "Mt"):
            return [link(" ".join(words[1:]) or words[0], words[0])] if words else []
        if name == "Ns":
            return [_GLUE, *words]
        if name == "Pf":
            return [*words[:1], _GLUE, *words[1:]]
        if name == "Ap":
            return [_GLUE, "'", _GLUE, *words]
        if name == "Ex":
            return [
                f"The **{' '.join(words[1:]) or self._name}** utility exits 0 on success, and >0 if an error occurs."
            ]
        if name == "Rv":
            return ["The function returns the value 0 if successful; otherwise it returns -1 and sets `errno`."]
        return ["\t" if name == "Ta" else "", *words]

    def _title(self, words: list[str]) -> None:
        if words:
            self._page.heading(1, words[0] + (f"({words[1]})" if len(words) > 1 else ""))

    def _list(self, words: list[str]) -> None:
        kind = next((word[1:] for word in words if word[:1] == "-" and len(word) > 3 and word != "-compact"), "tag")
        kind = kind if kind not in ("width", "offset") else "tag"
        self._page.open("part")
        self._lists.append((kind, 0))
        self._rows = []

    def _item(self, words: list[str]) -> None:
        kind, count = self._lists[-1] if self._lists else ("item", 0)
        if kind == "column":
            self._rows.append([cell.strip() for cell in self._line(words).split("\t")])
            return
        self._page.close_item()
        if self._lists:
            self._lists[-1] = (kind, count + 1)
        if kind == "enum":
            mark = f"{count + 1}."
        else:
            mark = "-" if kind in ("bullet", "dash", "hyphen", "item") else self._line(words)
        self._page.open("item", mark or "-")

    def _end_list(self, words: list[str]) -> None:
        if not self._lists:
            return
        kind, _ = self._lists.pop()
        if kind == "column":
            self._page.table(self._rows)
            self._rows = []
        self._page.close_part()

    def _display(self, words: list[str]) -> None:
        if any(word in ("-literal", "-unfilled") for word in words):
            self._page.code(begin=True)
        else:
            self._page.open("part")

    def _end_display(self, words: list[str]) -> None:
        if self._page.in_code:
            self._page.code(begin=False)
        else:
            self._page.close_part()

    def _one_line(self, words: list[str]) -> None:
        self._page.code(begin=True)
        self._page.text(self._line(words))
        self._page.code(begin=False)


def _trailing(words: list[str]) -> list[str]:
    """The punctuation at the end, which stands outside what a macro marks."""
    start = len(words)
    while start and words[start - 1] in _CLOSING:
        start -= 1
    return words[start:]
