"""Collects what names stand for in a reStructuredText file: targets, substitutions, labels, notes."""

import itertools
import re
from collections.abc import Sequence

from nima_cli.engine.data.ingest.formats.blocks import run_end

_TARGET = re.compile(
    r"\.\. _(?:`(?P<quoted>[^`]{1,300})`|(?P<plain>(?:[^:\\]|\\.|:(?! |$)){1,300})):(?: +(?P<url>.*))?$"
)
_ANONYMOUS = re.compile(r"(?:\.\. __:|__) +(?P<url>\S.*)$")
_SUBSTITUTION = re.compile(
    r"\.\. \|(?P<name>[^|]{1,200})\| +(?P<kind>replace|image|unicode|date)::(?: +(?P<text>.*))?$"
)
_FOOTNOTE = re.compile(r"\.\. \[(?P<mark>#[\w.-]{0,60}|\d{1,9})\](?: |$)")
_CODE_POINT = re.compile(r"(?:0x|x|\\x|U\+|u|\\u|&#x)?([0-9A-Fa-f]{2,6});?")


def normal(name: str) -> str:
    """Make names equal that differ only in white space and case."""
    return " ".join(name.split()).lower()


class References:
    """The names of one file, wherever they are defined in it.

    Attributes:
        targets: address by normal name.
        anonymous: addresses in reverse order of their references.
        substitutions: text in markup by name.
        titles: by the normal name of the label over them.
        labels: numbers of the footnotes that have a label and no number.
        unlabelled: numbers of the footnotes that have neither, in order.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self.targets: dict[str, str] = {}
        self.anonymous: list[str] = []
        self.substitutions: dict[str, str] = {}
        self.titles: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.unlabelled: list[str] = []
        notes: list[str] = []
        waiting: list[str] = []
        for index, line in enumerate(lines):
            mark = line.lstrip(" ")
            if not mark.startswith((".. ", "__ ")):
                if waiting and mark:
                    self._label(waiting, lines[index : index + 3])
                    waiting = []
            elif (match := _ANONYMOUS.match(mark)) is not None:
                self.anonymous.append("".join(match["url"].split()))
            elif (match := _TARGET.match(mark)) is not None:
                name = normal((match["quoted"] or match["plain"]).replace("\\", ""))
                url = _address(match["url"], lines, index)
                if url:
                    self.targets.setdefault(name, url)
                else:
                    waiting.append(name)
            elif (match := _SUBSTITUTION.match(mark)) is not None:
                self.substitutions.setdefault(match["name"], _substitute(match, lines, index))
            elif (match := _FOOTNOTE.match(mark)) is not None:
                notes.append(match["mark"])
        self.anonymous.reverse()
        taken = {mark for mark in notes if mark.isdigit()}
        free = (number for number in map(str, itertools.count(1)) if number not in taken)
        for mark in notes:
            if mark == "#":
                self.unlabelled.append(next(free))
            elif mark not in taken:
                number = next(free)
                self.labels.setdefault(mark[1:].lower(), number)

    def target(self, name: str) -> str | None:
        """Find the address for a name, through one other name at most."""
        found = self.targets.get(normal(name))
        if found is not None and found.endswith("_") and "/" not in found:
            return self.targets.get(normal(found[:-1].strip("`")))
        return found

    def _label(self, names: Sequence[str], lines: Sequence[str]) -> None:
        """Let labels lead to the title under them, with or without an overline."""
        title, under = lines[1:3] if _is_run(lines[0]) and len(lines) > 2 else [*lines, ""][:2]
        if _is_run(under):
            for name in names:
                self.titles.setdefault(name, title.strip())


def _continuation(lines: Sequence[str], index: int) -> list[str]:
    """List the lines that continue the definition at `index`: they are indented further."""
    margin = len(lines[index]) - len(lines[index].lstrip(" "))
    end = run_end(lines, index + 1, lambda line: line[: margin + 1].isspace())
    return [line.strip() for line in lines[index + 1 : end]]


def _address(first: str | None, lines: Sequence[str], index: int) -> str:
    text = " ".join([first or "", *_continuation(lines, index)]).strip()
    return text if text.endswith("_") and "/" not in text else "".join(text.split())


def _substitute(match: re.Match[str], lines: Sequence[str], index: int) -> str:
    text = match["text"] or ""
    if match["kind"] == "image":
        return next((line[5:].strip() for line in _continuation(lines, index) if line.startswith(":alt:")), "")
    if match["kind"] == "unicode":
        return "".join(map(_character, text.split(" .. ")[0].split()))
    return match["name"] if match["kind"] == "date" else " ".join([text, *_continuation(lines, index)]).strip()


def _character(word: str) -> str:
    match = _CODE_POINT.fullmatch(word)
    return chr(int(match[1], 16)) if match is not None and int(match[1], 16) < 0x110000 else word


def _is_run(line: str) -> bool:
    return len(line) > 2 and not line[0].isalnum() and line == line[0] * len(line)
