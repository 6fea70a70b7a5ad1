"""Lists of reStructuredText: bullets, numbers, definitions, fields, options."""

import re
from collections.abc import Sequence
from typing import Protocol

from nima_cli.engine.data.ingest.formats.rst.inline import Inline
from nima_cli.engine.data.ingest.formats.writing import code_span, dedented, indented, labelled, term

_NUMBER = re.compile(r"(?P<open>\(?)(?P<number>\d{1,9}|#|[A-Za-z]|[ivxIVX]{2,6})(?P<close>[.)])(?: +|$)")
_FIELD = re.compile(r":(?![: ])(?P<name>(?:[^:\\]|\\.|:(?![ `]|$)){1,200})(?<! ):(?: +|$)")
_OPTION = re.compile(
    r"(?:--?[A-Za-z0-9?][\w-]{0,60}|/[A-Z])(?:[ =]<?[\w.-]{1,60}>?)?"
    r"(?:, (?:--?[A-Za-z0-9?][\w-]{0,60}|/[A-Z])(?:[ =]<?[\w.-]{1,60}>?)?){0,8}(?:  +|$)"
)
_FILE_OPTIONS = frozenset({"orphan", "tocdepth", "nocomments", "nosearch", "no-search"})
# Marks of other blocks: what begins with one is no term.
_MARKS = frozenset(" ._:|>+-*•=/0123456789(#")

_FIELDS = {
    **dict.fromkeys(("param", "parameter", "arg", "argument", "key", "keyword"), "**Parameter** {}"),
    **dict.fromkeys(("raises", "raise", "except", "exception"), "**Raises** {}"),
    **dict.fromkeys(("var", "ivar", "cvar"), "**Variable** {}"),
    "type": "**Type of** {}",
    **dict.fromkeys(("returns", "return"), "**Returns**"),
    "rtype": "**Return type**",
    "vartype": "**Type of** {}",
}


class Blocks(Protocol):
    """What converts the blocks inside a list or a directive."""

    inline: Inline
    language: str

    def nested(self, lines: Sequence[str], titled: bool = False) -> list[str]:
        """The blocks of a body in Markdown; only that of a container (`titled`) may hold titles."""


def indented_end(lines: Sequence[str], index: int) -> int:
    """The line after the indented block that begins at `index`, without the blank lines after it."""
    end = place = index
    while place < len(lines):
        line = lines[place]
        if line:
            if line[0] != " ":
                break
            end = place + 1
        place += 1
    return end


def definition_list(blocks: Blocks, lines: Sequence[str], index: int) -> tuple[list[str], int]:
    end = index
    written: list[str] = []
    while True:
        stop = indented_end(lines, end + 1)
        words, _, classifier = lines[end].partition(" : ")
        name = blocks.inline.convert(words) + (f" ({blocks.inline.convert(classifier)})" if classifier else "")
        written += term(name, blocks.nested(dedented(lines[end + 1 : stop])))
        place = stop
        while place < len(lines) and not lines[place]:
            place += 1
        if not _defines(lines, place):
            return written, stop
        written += [""] * (place - stop)
        end = place


def _defines(lines: Sequence[str], index: int) -> bool:
    """Whether the line is the term of one more definition."""
    if index + 1 >= len(lines) or lines[index + 1][:1] != " " or lines[index].endswith("::"):
        return False
    return lines[index][0] not in _MARKS and lines[index][1:2] not in (".", ")")


def glossary(blocks: Blocks, lines: Sequence[str]) -> list[str]:
    """The entries of a glossary: several terms may share what is said of them."""
    written: list[str] = []
    index = 0
    while index < len(lines):
        if not lines[index]:
            index += 1
            continue
        end = index
        while end < len(lines) and lines[end][:1] not in ("", " "):
            end += 1
        stop = max(indented_end(lines, end), end)
        terms = [name for name in lines[index:end] if not name.startswith(".. ")]
        if terms or stop > end:
            name = ", ".join(blocks.inline.convert(name.split(" : ")[0]) for name in terms)
            written += ["", *term(name, blocks.nested(dedented(lines[end:stop])))]
        index = max(stop, index + 1)
    return written[1:]


def _item(blocks: Blocks, lines: Sequence[str], index: int, width: int) -> tuple[list[str], int]:
    """What stands in a list item whose mark takes `width` columns, and the line after it."""
    end = max(indented_end(lines, index + 1), index + 1)
    margin = " " * width
    rest = (line[width:] if line.startswith(margin) else line.lstrip(" ") for line in lines[index + 1 : end])
    return blocks.nested([lines[index][width:], *rest]), end


def bullets(blocks: Blocks, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
    mark = lines[index][0]
    if lines[index][1:2] not in (" ", ""):
        return options(blocks, lines, index) if mark == "-" else None
    written: list[str] = []
    while True:
        line = lines[index]
        body, end = _item(blocks, lines, index, len(line) - len(line[1:].lstrip(" ")))
        written += indented("-", body)
        index = end
        while index < len(lines) and not lines[index]:
            index += 1
        if index >= len(lines) or lines[index][0] != mark or lines[index][1:2] not in (" ", ""):
            return written, end
        written += [""] * (index - end)


def numbers(blocks: Blocks, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
    match = _NUMBER.match(lines[index])
    if match is None or not _goes_on(lines, index):
        return None
    written: list[str] = []
    count = int(match["number"]) - 1 if match["number"].isdigit() else 0
    while match is not None:
        count += 1
        number = str(count) if match["number"] == "#" else match["number"]
        body, end = _item(blocks, lines, index, match.end())
        written += indented(f"{number}.", body)
        index = end
        while index < len(lines) and not lines[index]:
            index += 1
        match = _NUMBER.match(lines[index]) if index < len(lines) else None
        if match is not None:
            written += [""] * (index - end)
    return written, end


def _goes_on(lines: Sequence[str], index: int) -> bool:
    """Whether the line after a number belongs to a list: text that goes on at the margin makes it a paragraph."""
    following = lines[index + 1] if index + 1 < len(lines) else ""
    return following[:1] in ("", " ") or _NUMBER.match(following) is not None


def fields(blocks: Blocks, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
    match = _FIELD.match(lines[index])
    if match is None:
        return None
    written: list[str] = []
    end = index
    while match is not None:
        end = max(indented_end(lines, index + 1), index + 1)
        first = [lines[index][match.end() :]] if match.end() < len(lines[index]) else []
        body = blocks.nested([*first, *dedented(lines[index + 1 : end])])
        if match["name"] not in _FILE_OPTIONS:
            written += indented("-", _field(match["name"], body, blocks.inline))
        index = end
        while index < len(lines) and not lines[index]:
            index += 1
        match = _FIELD.match(lines[index]) if index < len(lines) else None
    return written, end


def options(blocks: Blocks, lines: Sequence[str], index: int) -> tuple[list[str], int] | None:
    match = _OPTION.match(lines[index])
    if match is None or (match.end() == len(lines[index]) and lines[index + 1 : index + 2] in ([], [""])):
        return None
    end = max(indented_end(lines, index + 1), index + 1)
    first = [lines[index][match.end() :]] if match.end() < len(lines[index]) else []
    body = blocks.nested([*first, *dedented(lines[index + 1 : end])])
    return term(code_span(match[0].strip()), body), end


def _field(name: str, body: Sequence[str], inline: Inline) -> list[str]:
    """A field of a list, with the words for those that describe parameters."""
    words = name.split()
    known = _FIELDS.get(words[0]) if words else None
    if known is None or (len(words) == 1 and known.endswith("{}")):
        return labelled(f"**{inline.convert(name)}:**", body)
    shown = f"`{words[-1]}`" + (f" (`{' '.join(words[1:-1])}`)" if len(words) > 2 else "")
    return labelled(f"{known.format(shown)}:", body)
