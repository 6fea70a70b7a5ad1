"""Turns the macros of mdoc(7), which say what words are, into Markdown."""

from collections.abc import Callable
from itertools import takewhile

from nima_cli.engine.data.ingest.formats.blocks import run_end
from nima_cli.engine.data.ingest.formats.roff.page import Page, RoffText
from nima_cli.engine.data.ingest.formats.writing import code_span, link

_PUNCTUATION = tuple(".,:;)]?!")
# Stands between pieces that no space separates.
_GLUE = "\0"
_FORMS = {
    **dict.fromkeys(("Cm", "Ic", "Sy", "Cd"), "**{}**"),
    **dict.fromkeys(("Em", "Fa", "Va", "Vt", "Ft"), "*{}*"),
    **dict.fromkeys(("Li", "Ql", "Dv", "Er", "Ev", "Pa", "Ad", "Ms", "Fd"), "`{}`"),
    **dict.fromkeys(("No", "Tn", "An", "Sx", "Lb", "St", "Me", "Ux", "Fr", "Sm"), "{}"),
}
# Around the rest of the line.
_AROUND = {
    "Op": ("[", "]"), "Aq": ("<", ">"), "Bq": ("[", "]"), "Brq": ("{", "}"), "Dq": ("“", "”"), "Sq": ("‘", "’"),
    "Pq": ("(", ")"), "Qq": ('"', '"'), "Eq": ("", ""),
}  # fmt: skip
_OPENING = {f"{name[:-1]}o": marks[0] for name, marks in _AROUND.items()} | {"Xo": ""}
_CLOSING = {f"{name[:-1]}c": marks[1] for name, marks in _AROUND.items()} | {"Xc": "", "Fc": ")"}
_SYSTEMS = {"At": "AT&T UNIX", "Bx": "BSD", "Bsx": "BSD/OS", "Nx": "NetBSD", "Fx": "FreeBSD", "Ox": "OpenBSD",
            "Dx": "DragonFly"}  # fmt: skip
# Functions of the words after a macro and the name of the page.
_SPECIAL: dict[str, Callable[[list[str], str], list[str]]] = {
    "Fl": lambda words, _: [word if word == "|" else f"**-{word}**" for word in words] or ["**-**", _GLUE],
    "Nm": lambda words, name: [f"**{' '.join(words) or name}**"],
    "Ar": lambda words, _: [word if word in ("|", "...") else f"*{word}*" for word in words] or ["*file* ..."],
    "Xr": lambda words, _: [f"**{words[0]}**({words[1]})" if len(words) > 1 else f"**{' '.join(words)}**"],
    "Fn": lambda words, _: [code_span(f"{words[0]}({', '.join(words[1:])})")] if words else [],
    "Fo": lambda words, _: [f"{code_span(words[0])[:-1]}(`" if words else "", _GLUE],
    "In": lambda words, _: [code_span(f"#include <{' '.join(words)}>")],
    "Ns": lambda words, _: [_GLUE, *words],
    "Pf": lambda words, _: [*words[:1], _GLUE, *words[1:]],
    "Ap": lambda words, _: [_GLUE, "'", _GLUE, *words],
    "Ta": lambda words, _: ["\t", *words],
    "Nd": lambda words, _: ["—", *words],
    "Ex": lambda words, name: [
        f"The **{' '.join(words[1:]) or name}** utility exits 0 on success, and >0 if an error occurs."
    ],
    "Rv": lambda *_: ["The function returns the value 0 if successful; otherwise it returns -1 and sets `errno`."],
    **dict.fromkeys(("Lk", "Mt"), lambda words, _: [link(" ".join(words[1:]) or words[0], words[0])] if words else []),
}
# Macros that may stand inside a line.
_CALLABLE = {*_FORMS, *_AROUND, *_OPENING, *_CLOSING, *_SYSTEMS, *_SPECIAL} - {"Nd", "Ex", "Rv", "In", "Fd", "Cd", "Sm"}
_SILENT = ("Dd", "Os", "Rs", "Re", "Bk", "Ek", "Db", "Hf", "Ud")


class Mdoc:
    def __init__(self, text: RoffText, page: Page) -> None:
        self._text, self._page = text, page
        self._name = ""
        self._synopsis = False
        # The kinds of the open lists, with their numbers of items.
        self._lists: list[tuple[str, int]] = []
        self._rows: list[list[str]] = []

    def macro(self, name: str, words: list[str]) -> None:
        if name in _BLOCKS:
            _BLOCKS[name](self, words)
        elif name[0] == "%":
            self._page.text(f"{self._line(words)}{'.' if name == '%D' else ','}")
        elif name not in _SILENT:
            self._page.text(self._line([name, *words], begins=True))

    def _utility(self, words: list[str]) -> None:
        if self._name or not words:
            if self._synopsis:
                self._page.line_break()
        else:
            self._name = words[0]
        self._page.text(self._line(["Nm", *words]))

    def _section(self, words: list[str]) -> None:
        title = self._line(words)
        self._synopsis = title == "SYNOPSIS"
        self._page.heading(2, title)

    def _line(self, words: list[str], begins: bool = False) -> str:
        """Convert words and the macros between them; with `begins`, the first word is a macro."""
        line = ""
        glued = True
        for piece in self._pieces(words, begins):
            if piece == _GLUE:
                glued = True
                continue
            line += piece if glued or piece in _PUNCTUATION else f" {piece}"
            glued = piece in ("(", "[")
        return line.replace("****", "") if self._page.code is None else line.replace("**", "").replace("`", "")

    def _pieces(self, words: list[str], begins: bool) -> list[str]:
        pieces: list[str] = []
        # Closing marks of macros that reach to the end of the line.
        ends: list[str] = []
        index = 0
        while index < len(words):
            word = words[index]
            index += 1
            if word not in _CALLABLE and not (begins and index == 1):
                pieces.append(self._text.markdown(word))
                continue
            if word in _AROUND:
                opening, closing = _AROUND[word]
                pieces += [opening, _GLUE]
                ends.append(closing)
                continue
            stop = run_end(words, index, lambda own: own not in _CALLABLE)
            tail = _trailing(words[index:stop])
            pieces += self._own(word, [self._text.plain(own) for own in words[index : stop - len(tail)]])
            pieces += tail
            index = stop
        tail = _trailing(pieces) if ends else []
        marks = [mark for closing in reversed(ends) for mark in (_GLUE, closing)]
        return [*pieces[: len(pieces) - len(tail)], *marks, *tail]

    def _own(self, name: str, words: list[str]) -> list[str]:
        if name in _SPECIAL:
            return _SPECIAL[name](words, self._name)
        if name in _OPENING:
            return [_OPENING[name], _GLUE, *words]
        if name in _CLOSING:
            return [_GLUE, _CLOSING[name], *words]
        if name in _SYSTEMS:
            return [" ".join([_SYSTEMS[name], *words])]
        if name in ("Pa", "Ad") and not words:
            return ["`~`"]
        return [_FORMS[name].format(" ".join(words))] if words else []

    def _list(self, words: list[str]) -> None:
        kinds = (word[1:] for word in words if word[:1] == "-" and len(word) > 3 and word != "-compact")
        kind = next(kinds, "tag")
        self._page.open("part")
        self._lists.append((kind if kind not in ("width", "offset") else "tag", 0))
        self._rows = []

    def _item(self, words: list[str]) -> None:
        kind, count = self._lists.pop() if self._lists else ("", 0)
        if kind:
            self._lists.append((kind, count + 1))
        if kind == "column":
            self._rows.append([cell.strip() for cell in self._line(words).split("\t")])
            return
        self._page.close_last("item")
        mark = f"{count + 1}." if kind == "enum" else "-"
        if kind not in ("enum", "bullet", "dash", "hyphen", "item", ""):
            mark = self._line(words) or "-"
        self._page.open("item", mark)

    def _end_list(self, words: list[str]) -> None:
        if self._lists:
            if self._lists.pop()[0] == "column":
                self._page.table(self._rows)
                self._rows = []
            self._page.close_part()

    def _display(self, words: list[str]) -> None:
        if "-literal" in words or "-unfilled" in words:
            self._page.begin_code()
        else:
            self._page.open("part")

    def _end_display(self, words: list[str]) -> None:
        if self._page.code is None:
            self._page.close_part()
        else:
            self._page.end_code()

    def _one_line(self, words: list[str]) -> None:
        self._page.begin_code()
        self._page.text(self._line(words))
        self._page.end_code()


def _trailing(words: list[str]) -> list[str]:
    """Find the punctuation at the end, which stands outside the marks of a macro."""
    return [*takewhile(_PUNCTUATION.__contains__, reversed(words))][::-1]


_BLOCKS: dict[str, Callable[[Mdoc, list[str]], None]] = {
    "Nm": Mdoc._utility, "Sh": Mdoc._section, "Bl": Mdoc._list, "It": Mdoc._item, "El": Mdoc._end_list,
    "Bd": Mdoc._display, "Ed": Mdoc._end_display, "D1": Mdoc._one_line, "Dl": Mdoc._one_line,
    "Dt": lambda mdoc, words: mdoc._page.title(*words[:2]),
    "Ss": lambda mdoc, words: mdoc._page.heading(3, mdoc._line(words)),
    **dict.fromkeys(("Pp", "Lp"), lambda mdoc, _: mdoc._page.paragraph()),
}  # fmt: skip
MACROS = frozenset(
    {*_CALLABLE, *_SPECIAL, *_SILENT, *_BLOCKS, "Fd", "Cd", "Sm"} | {f"%{one}" for one in "ABCDIJNOPQRTUV"}
)
