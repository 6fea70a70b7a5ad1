"""What names stand for in a reStructuredText file: link targets, substitutions, labels of sections, notes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

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
    """A reference's name as it is compared: white space and case do not count."""
    return " ".join(name.split()).lower()


@dataclass(slots=True)
class References:
    """The names of one file.

    Attributes:
        targets: address by normal name.
        anonymous: addresses in the order in which they are referred to, the last first.
        substitutions: text in markup by name.
        titles: by the normal name of the label that stands over them.
        labels: number of each labelled footnote that is numbered by itself.
        unlabelled: numbers of the footnotes without a label, in order.
    """

    targets: dict[str, str] = field(default_factory=dict)
    anonymous: list[str] = field(default_factory=list)
    substitutions: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)

    def target(self, name: str) -> str | None:
        """The address a name leads to, through one other name at most."""
        found = self.targets.get(normal(name))
        if found is not None and found.endswith("_") and "/" not in found:
            return self.targets.get(normal(found[:-1].strip("`")))
        return found


def find_references(lines: Sequence[str]) -> References:
    """Read the definitions of a file, wherever they stand.

    Args:
        lines: without white space at their ends.
    """
    found = References()
    notes: list[str] = []
    waiting: list[str] = []
    for index, line in enumerate(lines):
        mark = line.lstrip(" ")
        if not mark.startswith((".. ", "__ ")):
            if waiting and mark:
                _label(found, waiting, lines, index)
                waiting = []
            continue
        if (match := _ANONYMOUS.match(mark)) is not None:
            found.anonymous.append("".join(match["url"].split()))
        elif (match := _TARGET.match(mark)) is not None:
            name = normal((match["quoted"] or match["plain"]).replace("\\", ""))
            url = _address(match["url"], lines, index)
            if url:
                found.targets.setdefault(name, url)
            else:
                waiting.append(name)
        elif (match := _SUBSTITUTION.match(mark)) is not None:
            found.substitutions.setdefault(match["name"], _substitute(match, lines, index))
        elif (match := _FOOTNOTE.match(mark)) is not None:
            notes.append(match["mark"])
    _number(found, notes)
    found.anonymous.reverse()
    return found


def _continuation(lines: Sequence[str], index: int) -> list[str]:
    """The lines that go on with the definition at `index`: those that are indented further, up to a blank one."""
    margin = len(lines[index]) - len(lines[index].lstrip(" "))
    end = index + 1
    while end < len(lines) and lines[end] and lines[end][: margin + 1].isspace():
        end += 1
    return [line.strip() for line in lines[index + 1 : end]]


def _address(first: str | None, lines: Sequence[str], index: int) -> str:
    text = " ".join([first or "", *_continuation(lines, index)]).strip()
    return text if text.endswith("_") and "/" not in text else "".join(text.split())


def _substitute(match: re.Match[str], lines: Sequence[str], index: int) -> str:
    text = match["text"] or ""
    if match["kind"] == "image":
        alts = [line for line in _continuation(lines, index) if line.startswith(":alt:")]
        return alts[0][5:].strip() if alts else ""
    if match["kind"] == "unicode":
        return "".join(_character(part) for part in text.split(" .. ")[0].split())
    if match["kind"] == "date":
        return match["name"]
    return " ".join([text, *_continuation(lines, index)]).strip()


def _character(word: str) -> str:
    match = _CODE_POINT.fullmatch(word)
    return chr(int(match[1], 16)) if match is not None and int(match[1], 16) < 0x110000 else word


def _label(found: References, names: Sequence[str], lines: Sequence[str], index: int) -> None:
    """Labels lead to the title under them, with or without an overline."""
    title = index + 1 if _is_run(lines[index]) else index
    if title + 1 < len(lines) and _is_run(lines[title + 1]):
        for name in names:
            found.titles.setdefault(name, lines[title].strip())


def _is_run(line: str) -> bool:
    return len(line) > 2 and not line[0].isalnum() and line == line[0] * len(line)


def _number(found: References, notes: Sequence[str]) -> None:
    taken = {int(mark) for mark in notes if mark.isdigit()}
    number = 0
    for mark in notes:
        if mark.isdigit():
            continue
        number += 1
        while number in taken:
            number += 1
        if mark == "#":
            found.unlabelled.append(str(number))
        else:
            found.labels.setdefault(mark[1:].lower(), str(number))
