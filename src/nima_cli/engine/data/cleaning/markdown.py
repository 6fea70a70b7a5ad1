"""Where the blocks of a Markdown text are, by line.

Structure comes from a CommonMark parser (markdown-it-py), never from a mark at a line's start: `# x` inside a fence is
code, and a fence may be nested in lists, longer than three marks, or never closed.
"""

import functools
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from markdown_it import MarkdownIt

from nima_cli.engine.data.cleaning.front_matter import read_front_matter

BlockKind = Literal["front_matter", "fence", "code", "heading", "paragraph", "list", "table", "html", "other"]

_KINDS: dict[str, BlockKind] = {
    "fence": "fence",
    "code_block": "code",
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "html_block": "html",
    "blockquote_open": "other",
    "hr": "other",
}
# Byte for byte in any cleaning, whole wherever they fit when cutting.
VERBATIM: frozenset[BlockKind] = frozenset({"front_matter", "fence", "code", "table", "html"})
_CODE: frozenset[BlockKind] = frozenset({"fence", "code", "html"})
_HOLDS_CODE = re.compile(r"<(?:pre|script|style|textarea)", re.IGNORECASE)
_PRE_OPEN = re.compile(r"<pre\b", re.IGNORECASE)
_PRE_CLOSE = re.compile(r"</pre\s*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        start: index of its first line, from 0.
        end: index after its last line; blank lines after a block do not belong to it.
        level: 1 to 6 for a heading, else 0.
        depth: 0 at the top, more inside lists and quotes.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    depth: int = 0


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


@functools.lru_cache(maxsize=2)
def blocks(text: str) -> tuple[Block, ...]:
    """The blocks of `text` in order, containers before what they hold.

    Args:
        text: with LF line ends only; lines are those of `text.split("\\n")`.
    """
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

    Args:
        only_code: without tables, front matter, and HTML that holds no code.
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


def _end_of_pre(text: str, lines: list[str], block: Block) -> int:
    """Where an HTML block really ends: CommonMark ends most of them at a blank line, even inside an open `<pre>`."""
    html = "\n".join(lines[block.start : block.end])
    if len(_PRE_OPEN.findall(html)) <= len(_PRE_CLOSE.findall(html)):
        return block.end
    closings = _pre_closings(text)
    following = bisect_left(closings, block.end)
    return closings[following] + 1 if following < len(closings) else block.end


@functools.lru_cache(maxsize=2)
def _pre_closings(text: str) -> tuple[int, ...]:
    """The lines that close a `<pre>`."""
    return tuple(index for index, line in enumerate(text.split("\n")) if _PRE_CLOSE.search(line))


def without(text: str, cuts: Iterable[tuple[int, int]]) -> str:
    """`text` without what lies in `cuts`, each [start, end), in order."""
    kept, last = [], 0
    for start, end in cuts:
        kept.append(text[last:start])
        last = end
    return "".join([*kept, text[last:]])
