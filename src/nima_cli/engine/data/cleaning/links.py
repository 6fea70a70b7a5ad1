"""Takes the targets of links and pictures out of Markdown; knows no other markup.

Structure comes from a CommonMark parser: a link may go over several lines, hold a picture that is a link of its own,
or be defined elsewhere. The parser does not say where in a text its tokens are, so its rules are watched.
"""

import functools
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, reference
from markdown_it.rules_inline import StateInline, autolink, image, link

from nima_cli.engine.data.cleaning.data_uris import LEFT_OUT
from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.cleaning.markdown import code_lines
from nima_cli.engine.data.cleaning.whitespace import CleanReport
from nima_cli.engine.data.document import with_line_feeds

_DATA = "data:"
_BAR = re.compile(r"(?<!\\)\|")
_MIGHT_HOLD = re.compile(r"\]\(|\]:|<[A-Za-z][\w+.-]{1,31}:|<[^\s<>@]{1,64}@")
_MIGHT_HOLD_DATA = re.compile(r"(?:\]\(|\]:)\s*<?data:")


@dataclass(frozen=True, slots=True)
class _Link:
    """A link, picture or autolink, and what of the text around it is cut: [start, end) twice."""

    target: str
    before: tuple[int, int]
    after: tuple[int, int]


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Nothing is shown to anybody, so that no target is dangerous."""
        return True

    def normalizeLink(self, url: str) -> str:
        """As it is written."""
        return url


@functools.cache
def _parser() -> MarkdownIt:
    parser = _Parser("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.inline.ruler.enableOnly(["text", "escape", "backticks", "link", "image", "autolink", "html_inline"])
    parser.inline.ruler2.enableOnly([])
    parser.inline.ruler.at("link", _link)
    parser.inline.ruler.at("image", _image)
    parser.inline.ruler.at("autolink", _autolink)
    parser.block.ruler.at("reference", _reference)
    return parser


def _link(state: StateInline, silent: bool) -> bool:
    start, tokens = state.pos, len(state.tokens)
    if not link(state, silent):
        return False
    if not silent:
        opening = next(token for token in state.tokens[tokens:] if token.type == "link_open")
        label_end = state.md.helpers.parseLinkLabel(state, start, True)
        _note(state, str(opening.attrs["href"]), (start, start + 1), (label_end, state.pos))
    return True


def _image(state: StateInline, silent: bool) -> bool:
    start, base = state.pos, state.env["base"]
    # What stands for the picture is parsed as a text of its own.
    state.env["base"] = base + start + 2
    matched = image(state, silent)
    state.env["base"] = base
    if matched and not silent:
        label_end = state.md.helpers.parseLinkLabel(state, start + 1, False)
        _note(state, str(state.tokens[-1].attrs["src"]), (start, start + 2), (label_end, state.pos))
    return matched


def _autolink(state: StateInline, silent: bool) -> bool:
    start = state.pos
    if not autolink(state, silent):
        return False
    if not silent:
        _note(state, state.src[start + 1 : state.pos - 1], (start, start + 1), (state.pos - 1, state.pos))
    return True


def _note(state: StateInline, target: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    base = state.env["base"]
    shifted = ((start + base, end + base) for start, end in (before, after))
    state.env["links"].append(_Link(target, *shifted))


def _reference(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Footnotes have the shape of definitions."""
    if state.src.startswith("[^", state.bMarks[start_line] + state.tShift[start_line]):
        return False
    return reference(state, start_line, end_line, silent)


def strip_links(text: str, report: CleanReport, *, only_data: bool = False) -> str:
    """`text` with the text of links and pictures instead of the whole of them, outside code, and no definitions.

    Footnotes stay, and so do references to what is defined nowhere.

    Args:
        only_data: only those whose target is a data URI.
        report: what was done is added to it.
    """
    if (only_data and _DATA not in text) or not (_MIGHT_HOLD_DATA if only_data else _MIGHT_HOLD).search(text):
        return text
    text = with_line_feeds(text)
    cuts = []
    for target, stretches in _targets(text):
        if not only_data:
            report.links += 1
        elif target.startswith(_DATA):
            report.data_uris += not target.endswith(LEFT_OUT)
        else:
            continue
        cuts += stretches
    kept, last = [], 0
    for start, end in sorted(cuts):
        kept.append(text[last:start])
        last = end
    return "".join([*kept, text[last:]])


def _targets(text: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Every target outside code, and what of `text` goes with it."""
    lines = text.split("\n")
    front = read_front_matter(text)
    skipped = front.lines if front is not None else 0
    begins = [*accumulate((len(line) + 1 for line in lines), initial=0)]
    environment: dict[str, Any] = {"base": 0, "links": []}
    tokens = _parser().parse("\n".join(lines[skipped:]), environment)
    for definition in [*environment.get("references", {}).values(), *environment.get("duplicate_refs", ())]:
        first, end = (line + skipped for line in definition["map"])
        yield definition["href"], [(begins[first], min(begins[end], len(text)))]
    code = bytearray(len(lines))
    for first, end, _ in code_lines(text, lines):
        code[first:end] = b"\1" * (end - first)
    end = 0
    for token in tokens:
        if token.map is None or token.type not in ("inline", "html_block") or code[token.map[0] + skipped]:
            continue
        # After the one before, which may be in the same row of a table.
        inline = _find(token.content, text, max(end, begins[token.map[0] + skipped]))
        if inline is None:
            continue
        end = inline.offset_in_text(len(inline.content))
        environment["links"] = []
        if "[" in inline.content or "<" in inline.content:
            _parser().inline.parse(inline.content, _parser(), environment, [])
        for found in environment["links"]:
            at = inline.offset_in_text
            yield found.target, [(at(start), at(end)) for start, end in (found.before, found.after)]


@dataclass(frozen=True, slots=True)
class _Inline:
    """What the parser made of some lines, and where in the text each of its own begins: (offset here, offset there)."""

    content: str
    lines: list[tuple[int, int]]

    def offset_in_text(self, offset: int) -> int:
        here, there = self.lines[bisect_right(self.lines, offset, key=itemgetter(0)) - 1]
        return there + offset - here


def _find(content: str, text: str, place: int) -> _Inline | None:
    """Where `content` is in `text` from `place` on; None if the parser changed more than what stands before its lines.

    That is the marks of lists and quotes, and white space.
    """
    lines: list[tuple[int, int]] = []
    here = 0
    for line in content.split("\n"):
        bare = line.lstrip(" \t")
        line_end = text.find("\n", place)
        line_end = len(text) if line_end < 0 else line_end
        there = text.find(bare, place, line_end)
        if there < 0:
            # In a table, `|` is written as `\|`.
            return _find(_BAR.sub(r"\\|", content), text, place) if _BAR.search(content) and not lines else None
        indent = len(line) - len(bare)
        lines.append((here, there - indent))
        here += len(line) + 1
        place = line_end + 1
    return _Inline(content, lines)
