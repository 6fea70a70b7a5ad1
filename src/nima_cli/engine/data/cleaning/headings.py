"""Finds the headings that a line of a text stands under."""

import re
from collections.abc import Iterator, Sequence

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.document import Kind

_UNDERLINE = re.compile(r"([=\-~^\"'*+#`.:_])\1{2,}\s*")


def title_lines(lines: Sequence[str], index: int) -> int:
    """How many lines the reStructuredText title at `index` takes; 0 if there is no title.

    A title is underlined; one that also has the same overline may be indented.
    """
    line, *after = [one.rstrip() for one in lines[index : index + 3]]
    if not line or not after or not after[0]:
        return 0
    if len(after) == 2 and after[1] == line and _UNDERLINE.fullmatch(line):
        return 3 if len(after[0].strip()) <= len(line) else 0
    titled = line[0] not in " \t" and len(after[0]) >= len(line)
    return 2 if titled and _UNDERLINE.fullmatch(after[0]) else 0


def heading_paths(lines: Sequence[str], kind: Kind) -> list[tuple[str, ...]]:
    """The headings over each line, outermost first, without the line itself; lines have their line ends."""
    paths: list[tuple[str, ...]] = []
    path: list[tuple[int, str]] = []
    over: tuple[str, ...] = ()
    for line, level, text in _titles(lines) if kind == "text" else _markdown_headings(lines):
        paths += [over] * (line - len(paths))
        while path and path[-1][0] >= level:
            path.pop()
        paths.append(tuple(text for _, text in path))
        path.append((level, text))
        over = (*paths[-1], text)
    return paths + [over] * (len(lines) - len(paths))


def _markdown_headings(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(line, level, text) of each heading at the top level."""
    for block in blocks("".join(lines)):
        if block.kind == "heading" and not block.depth:
            yield block.start, block.level, "".join(lines[block.start : block.end]).rstrip() + "\n"


def _titles(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(line, level, text) of each reStructuredText title; the level of a style is the order of its first use."""
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
