"""Lists of AsciiDoc: bullets, numbers, callouts and terms, with the blocks that are attached to their items."""

import re
from collections.abc import Sequence
from typing import Protocol

from nima_cli.engine.data.ingest.formats.asciidoc.inline import Inline
from nima_cli.engine.data.ingest.formats.writing import indented, term

_DEEPEST = 16
_ITEM = re.compile(
    r"[ \t]*(?:(?P<bullet>\*{1,6}|-|•)|(?P<number>\.{1,6}|\d{1,9}\.|[a-zA-Z]\.)|<(?P<callout>\d{1,3}|\.)>)"
    r"[ \t]+(?P<text>\S.*)$"
)
_TERM = re.compile(r"[ \t]*(?P<term>\S(?:.{0,300}?\S)??)(?P<marks>:{2,4}|;;)(?:[ \t]+(?P<text>\S.*))?$")


class Blocks(Protocol):
    """What converts the blocks inside a list."""

    inline: Inline

    def paragraph(self, lines: Sequence[str]) -> list[str]:
        """A paragraph in Markdown."""

    def interrupts(self, line: str) -> bool:
        """Whether a line ends the paragraph above it."""

    def block(self, lines: Sequence[str], index: int) -> tuple[list[str], int]:
        """The block that begins at a line, and the line after it."""


def begins_item(line: str) -> bool:
    """Whether the line begins an item of a list."""
    return _ITEM.match(line) is not None or _TERM.match(line) is not None


def list_lines(blocks: Blocks, lines: Sequence[str], index: int) -> tuple[list[str], int]:
    """A list with all that its items hold; marks that are new go a level deeper."""
    levels: list[str] = []
    written: list[str] = []
    counts: list[int] = []
    while index < len(lines):
        item = _ITEM.match(lines[index])
        named = _TERM.match(lines[index]) if item is None else None
        if item is None and named is None:
            break
        kind = _kind(item, named)
        if kind in levels:
            del levels[levels.index(kind) + 1 :], counts[levels.index(kind) + 1 :]
        elif len(levels) < _DEEPEST:
            levels.append(kind)
            counts.append(0)
        counts[-1] += 1
        found = item or named
        assert found is not None
        body, after = _item_body(blocks, lines, index, found["text"])
        if item is None:
            made = term(blocks.inline.convert(found["term"]), body)
        else:
            made = indented("-" if item["bullet"] else f"{counts[-1]}.", body)
        margin = "".join("   " if level[0] in ".<" else "  " for level in levels[:-1])
        blank = after
        while blank < len(lines) and not lines[blank]:
            blank += 1
        written += [margin + line if line else "" for line in made]
        if blank < len(lines) and begins_item(lines[blank]):
            written += [""] * (blank - after)
            index = blank
        else:
            return written, after
    return written, index


def _item_body(blocks: Blocks, lines: Sequence[str], index: int, text: str | None) -> tuple[list[str], int]:
    """What an item holds, with the blocks that `+` adds to it, and the line after it."""
    paragraph = [text] if text else []
    index += 1
    if not paragraph:
        while index < len(lines) and not lines[index]:
            index += 1
        if index < len(lines) and begins_item(lines[index]):
            return [], index
    while index < len(lines) and lines[index] and not blocks.interrupts(lines[index]):
        if _ITEM.match(lines[index]) or (_TERM.match(lines[index]) and paragraph):
            break
        paragraph.append(lines[index].lstrip(" \t"))
        index += 1
    body = blocks.paragraph(paragraph)
    while index + 1 < len(lines) and lines[index] == "+":
        index += 1
        made: list[str] = []
        while index < len(lines) and not made and lines[index] != "+":
            if not lines[index]:
                index += 1
                continue
            made, index = blocks.block(lines, index)
        body += ["", *made] if body and made else made
    return body, index


def _kind(item: re.Match[str] | None, named: re.Match[str] | None) -> str:
    if item is None:
        return named["marks"] if named is not None else ""
    if item["bullet"]:
        return str(item["bullet"])
    if item["number"]:
        return str(item["number"]) if item["number"][0] == "." else ".1"
    return "<"
