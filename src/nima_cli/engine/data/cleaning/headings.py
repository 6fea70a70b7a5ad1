"""Which headings a line of a text stands under."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.document import Kind

_UNDERLINE = re.compile(r"([=\-~^\"'*+#`.:_])\1{2,}\s*")


def title_lines(lines: Sequence[str], index: int) -> int:
    """How many lines the reStructuredText title at `index` takes; 0 if there is no title.

    A title is underlined; those with an overline too, which is the same as the underline, may be indented.
    """
    line, *after = [one.rstrip() for one in lines[index : index + 3]]
    if not line or not after or not after[0]:
        return 0
    if len(after) == 2 and after[1] == line and _UNDERLINE.fullmatch(line):
        return 3 if len(after[0].strip()) <= len(line) else 0
    titled = line[0] not in " \t" and len(after[0]) >= len(line)
    return 2 if titled and _UNDERLINE.fullmatch(after[0]) else 0


class HeadingPaths:
    """The headings of a text, outermost first, for each of its lines.

    Args:
        lines: each with its line end.
    """

    def __init__(self, lines: Sequence[str], kind: Kind) -> None:
        self._starts: list[int] = []
        self._paths: list[tuple[str, ...]] = []
        path: list[tuple[int, str]] = []
        for line, level, text in _titles(lines) if kind == "text" else _markdown_headings(lines):
            while path and path[-1][0] >= level:
                path.pop()
            path.append((level, text))
            self._starts.append(line)
            self._paths.append(tuple(text for _, text in path))

    def above(self, line: int) -> tuple[str, ...]:
        """The headings over the line with this index, each on lines of its own; a heading is not over itself."""
        place = bisect_right(self._starts, line) - 1
        if place < 0:
            return ()
        return self._paths[place][:-1] if self._starts[place] == line else self._paths[place]


def _markdown_headings(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(line, level, text) of each heading at the top level."""
    for block in blocks("".join(lines)):
        if block.kind == "heading" and not block.depth:
            yield block.start, block.level, "".join(lines[block.start : block.end]).rstrip() + "\n"


def _titles(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """The same of reStructuredText; the level of a style is the order in which it first occurs."""
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
            yield index, level, "".join(f"{line.rstrip()}\n" for line in lines[index:following])
