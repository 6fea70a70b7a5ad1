"""Which headings a line of a text stands under; knows nothing of pieces or tokens."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.document import Kind

_UNDERLINE = re.compile(r"([=\-~^\"'*+#`.:_])\1{2,}\s*")


def title_lines(lines: Sequence[str], index: int) -> int:
    """How many lines the title takes that begins at `index`, as titles of reStructuredText do; 0 if none does.

    A title is underlined; those with an overline too, which is the same as the underline, may be indented.
    """
    line, *after = [one.rstrip() for one in lines[index : index + 3]]
    if not line or not after or not after[0]:
        return 0
    if len(after) == 2 and after[1] == line and _UNDERLINE.fullmatch(line):
        return 3 if len(after[0].strip()) <= len(line) else 0
    titled = line[0] not in " \t" and len(after[0]) >= len(line)
    return 2 if titled and _UNDERLINE.fullmatch(after[0]) else 0


@dataclass(frozen=True, slots=True)
class _Heading:
    line: int
    level: int
    text: str


class HeadingPaths:
    """The headings of a text, outermost first, for each of its lines.

    Args:
        lines: each with its line end.
    """

    def __init__(self, lines: Sequence[str], kind: Kind) -> None:
        found = _titles(lines) if kind == "text" else _markdown_headings(lines)
        self._starts: list[int] = []
        self._above: list[tuple[str, ...]] = []
        self._with: list[tuple[str, ...]] = []
        path: list[_Heading] = []
        for heading in found:
            while path and path[-1].level >= heading.level:
                path.pop()
            self._starts.append(heading.line)
            self._above.append(tuple(one.text for one in path))
            path.append(heading)
            self._with.append(tuple(one.text for one in path))

    def above(self, line: int) -> tuple[str, ...]:
        """The headings over the line with this index, each on lines of its own; a heading is not over itself."""
        place = bisect_right(self._starts, line) - 1
        if place < 0:
            return ()
        return self._above[place] if self._starts[place] == line else self._with[place]


def _markdown_headings(lines: Sequence[str]) -> Iterable[_Heading]:
    for block in blocks("".join(lines)):
        if block.kind == "heading" and not block.depth:
            yield _Heading(block.start, block.level, "".join(lines[block.start : block.end]).rstrip() + "\n")


def _titles(lines: Sequence[str]) -> Iterable[_Heading]:
    """Titles of reStructuredText; the level of a style is the order in which it first occurs."""
    levels: dict[str, int] = {}
    following = 0
    for index in range(len(lines)):
        if index < following or (index and lines[index - 1].strip()):
            continue
        taken = title_lines(lines, index)
        if taken:
            following = index + taken
            style = lines[following - 1][0] * (taken - 1)
            level = levels.setdefault(style, len(levels) + 1)
            yield _Heading(index, level, "".join(f"{line.rstrip()}\n" for line in lines[index:following]))
