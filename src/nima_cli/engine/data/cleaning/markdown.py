"""Finds the blocks of a Markdown text, by line, with a CommonMark parser (markdown-it-py), and headings over lines."""

import functools
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markdown_it import MarkdownIt

from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.document import Kind

BlockKind = Literal["front_matter", "fence", "code", "heading", "paragraph", "list", "table", "html", "other"]

_KINDS: dict[str, BlockKind] = {
    "fence": "fence", "code_block": "code", "heading_open": "heading", "paragraph_open": "paragraph",
    "bullet_list_open": "list", "ordered_list_open": "list", "table_open": "table", "html_block": "html",
    "blockquote_open": "other", "hr": "other",
}  # fmt: skip
# Cleaning keeps these byte for byte, and cutting keeps them whole where they fit.
VERBATIM: frozenset[BlockKind] = frozenset({"front_matter", "fence", "code", "table", "html"})
_CODE: frozenset[BlockKind] = frozenset({"fence", "code", "html"})
_HOLDS_CODE = re.compile(r"<(?:pre|script|style|textarea)", re.IGNORECASE)
_PRE_OPEN = re.compile(r"<pre\b", re.IGNORECASE)
_PRE_CLOSE = re.compile(r"</pre\s*>", re.IGNORECASE)
_UNDERLINE = re.compile(r"([=\-~^\"'*+#`.:_])\1{2,}\s*")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of lines [start, end), without the blank lines after it."""

    kind: BlockKind
    start: int
    end: int
    level: int = 0  # 1 to 6 for a heading
    depth: int = 0  # more inside lists and quotes


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


@functools.lru_cache(maxsize=2)
def blocks(text: str) -> tuple[Block, ...]:
    """The blocks of `text` (with LF line ends) in order, containers before what they hold."""
    lines = text.split("\n")
    front = read_front_matter(text)
    skipped = front.lines if front is not None else 0
    found = [Block("front_matter", 0, skipped)] if skipped else []
    for token in _parser().parse("\n".join(lines[skipped:])):
        kind = _KINDS.get(token.type)
        if kind is not None and token.map is not None:
            start, end = token.map[0] + skipped, min(token.map[1] + skipped, len(lines))
            # The parser counts trailing blank lines to code and lists; an unclosed fence really owns them.
            while kind != "fence" and end > start + 1 and not lines[end - 1].strip(" \t"):
                end -= 1
            level = int(token.tag[1]) if kind == "heading" else 0
            found.append(Block(kind, start, end, level, token.level))
    return tuple(found)


def verbatim_lines(text: str, lines: list[str], *, only_code: bool = False) -> Iterator[tuple[int, int, BlockKind]]:
    """(first line, line after the last, kind) of what stays byte for byte, in order.

    With `only_code`, tables, front matter and HTML without code are not among it.
    """
    last = 0
    for block in blocks(text):
        if block.end <= last or block.kind not in (_CODE if only_code else VERBATIM):
            continue
        end = block.end
        if block.kind == "html":
            if only_code and not _HOLDS_CODE.search("\n".join(lines[block.start : end])):
                continue
            end = _end_of_pre(text, lines, block)
        yield max(block.start, last), end, block.kind
        last = end


def verbatim_flags(text: str, lines: list[str], *, only_code: bool = False) -> bytearray:
    """1 for each line of `verbatim_lines`, 0 for the others."""
    flags = bytearray(len(lines))
    for start, end, _ in verbatim_lines(text, lines, only_code=only_code):
        flags[start:end] = b"\1" * (end - start)
    return flags


def _end_of_pre(text: str, lines: list[str], block: Block) -> int:
    """Where an HTML block really ends; CommonMark ends most of them at a blank line, even inside an open `<pre>`."""
    html = "\n".join(lines[block.start : block.end])
    if len(_PRE_OPEN.findall(html)) <= len(_PRE_CLOSE.findall(html)):
        return block.end
    closings = _pre_closings(text)
    following = bisect_left(closings, block.end)
    return closings[following] + 1 if following < len(closings) else block.end


@functools.lru_cache(maxsize=2)
def _pre_closings(text: str) -> tuple[int, ...]:
    return tuple(index for index, line in enumerate(text.split("\n")) if _PRE_CLOSE.search(line))


def without(text: str, cuts: Iterable[tuple[int, int]]) -> str:
    """`text` without the `cuts`, each [start, end), in order."""
    kept, last = [], 0
    for start, end in cuts:
        kept.append(text[last:start])
        last = end
    return "".join([*kept, text[last:]])


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
