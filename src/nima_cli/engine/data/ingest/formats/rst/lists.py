"""Turns lists of reStructuredText into Markdown: bullets, numbers, definitions, fields, options."""

import itertools
import re
from collections.abc import Sequence

from nima_cli.engine.data.ingest.formats.blocks import Block, Converter, indented_end, list_items, next_text, run_end
from nima_cli.engine.data.ingest.formats.writing import code_span, dedented, indented, labelled, term

_NUMBER = re.compile(r"\(?(?P<number>\d{1,9}|#|[A-Za-z]|[ivxIVX]{2,6})[.)](?: +|$)")
_FIELD = re.compile(r":(?![: ])(?P<name>(?:[^:\\]|\\.|:(?![ `]|$)){1,200})(?<! ):(?: +|$)")
_ONE_OPTION = r"(?:--?[A-Za-z0-9?][\w-]{0,60}|/[A-Z])(?:[ =]<?[\w.-]{1,60}>?)?"
_OPTION = re.compile(rf"(?P<name>{_ONE_OPTION}(?:, {_ONE_OPTION}){{0,8}})(?:  +|$)")
_FILE_OPTIONS = frozenset({"orphan", "tocdepth", "nocomments", "nosearch", "no-search"})
# A term does not begin with the mark of another block.
_MARKS = frozenset(" ._:|>+-*•=/0123456789(#")
_FIELDS = {
    **dict.fromkeys(("param", "parameter", "arg", "argument", "key", "keyword"), "**Parameter** {}"),
    **dict.fromkeys(("raises", "raise", "except", "exception"), "**Raises** {}"),
    **dict.fromkeys(("var", "ivar", "cvar"), "**Variable** {}"),
    **dict.fromkeys(("type", "vartype"), "**Type of** {}"),
    **dict.fromkeys(("returns", "return"), "**Returns**"),
    "rtype": "**Return type**",
}


def definition_list(blocks: Converter, lines: Sequence[str], index: int) -> Block | None:
    def definition(place: int) -> Block | None:
        if place > index and not _defines(lines, place):
            return None
        words, _, classifier = lines[place].partition(" : ")
        name = blocks.inline(words) + (f" ({blocks.inline(classifier)})" if classifier else "")
        body, end = _under(blocks, lines, place, "")
        return term(name, body), end

    return list_items(definition, lines, index)


def _defines(lines: Sequence[str], index: int) -> bool:
    """Tell whether a line is the term of another definition."""
    if index + 1 >= len(lines) or lines[index + 1][:1] != " " or lines[index].endswith("::"):
        return False
    return lines[index][0] not in _MARKS and lines[index][1:2] not in (".", ")")


def _under(blocks: Converter, lines: Sequence[str], index: int, text: str) -> Block:
    """Convert `text`, the rest of a line, and what is indented under it."""
    end = indented_end(lines, index + 1)
    return blocks.nested([*([text] if text else []), *dedented(lines[index + 1 : end])]), end


def glossary(blocks: Converter, lines: Sequence[str]) -> list[str]:
    """Convert the entries of a glossary, where several terms may share a definition."""
    written: list[str] = []
    index = next_text(lines, 0)
    while index < len(lines):
        end = run_end(lines, index, lambda line: line[:1] not in ("", " "))
        stop = indented_end(lines, end)
        terms = [name for name in lines[index:end] if not name.startswith(".. ")]
        if terms or stop > end:
            name = ", ".join(blocks.inline(name.split(" : ")[0]) for name in terms)
            written += ["", *term(name, blocks.nested(dedented(lines[end:stop])))]
        index = next_text(lines, stop)
    return written[1:]


def _item(blocks: Converter, lines: Sequence[str], index: int, mark: str, width: int) -> Block:
    """Convert a list item whose mark takes `width` columns in the file."""
    end = indented_end(lines, index + 1)
    margin = " " * width
    rest = (line[width:] if line.startswith(margin) else line.lstrip(" ") for line in lines[index + 1 : end])
    return indented(mark, blocks.nested([lines[index][width:], *rest])), end


def bullets(blocks: Converter, lines: Sequence[str], index: int) -> Block | None:
    mark = lines[index][0]

    def bullet(place: int) -> Block | None:
        line = lines[place]
        if line[0] != mark or line[1:2] not in (" ", ""):
            return None
        return _item(blocks, lines, place, "-", len(line) - len(line[1:].lstrip(" ")))

    return list_items(bullet, lines, index) or (options(blocks, lines, index) if mark == "-" else None)


def numbers(blocks: Converter, lines: Sequence[str], index: int) -> Block | None:
    first = _NUMBER.match(lines[index])
    if first is None:
        return None
    following = lines[index + 1] if index + 1 < len(lines) else ""
    if following[:1] not in ("", " ") and not _NUMBER.match(following):
        # The text of a paragraph goes on at the margin.
        return None
    counts = itertools.count(int(first["number"]) if first["number"].isdigit() else 1)

    def numbered(place: int) -> Block | None:
        match = _NUMBER.match(lines[place])
        if match is None:
            return None
        count = next(counts)
        number = str(count) if match["number"] == "#" else match["number"]
        return _item(blocks, lines, place, f"{number}.", match.end())

    return list_items(numbered, lines, index)


def fields(blocks: Converter, lines: Sequence[str], index: int) -> Block | None:
    def field(place: int) -> Block | None:
        match = _FIELD.match(lines[place])
        if match is None:
            return None
        body, end = _under(blocks, lines, place, lines[place][match.end() :])
        if match["name"] in _FILE_OPTIONS:
            return [], end
        return indented("-", labelled(_field_label(blocks, match["name"]), body)), end

    return list_items(field, lines, index, tight=True)


def _field_label(blocks: Converter, name: str) -> str:
    """Write the name of a field; those that describe parameters have words of their own."""
    words = name.split()
    known = _FIELDS.get(words[0]) if words else None
    if known is None or (len(words) == 1 and known.endswith("{}")):
        return f"**{blocks.inline(name)}:**"
    kind = f" (`{' '.join(words[1:-1])}`)" if len(words) > 2 else ""
    return known.format(f"`{words[-1]}`{kind}") + ":"


def options(blocks: Converter, lines: Sequence[str], index: int) -> Block | None:
    match = _OPTION.match(lines[index])
    if match is None or (match.end() == len(lines[index]) and lines[index + 1 : index + 2] in ([], [""])):
        return None
    body, end = _under(blocks, lines, index, lines[index][match.end() :])
    return term(code_span(match["name"]), body), end
