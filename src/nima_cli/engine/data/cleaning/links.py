"""Takes out the contents of data URIs and, in Markdown, the targets of links and images.

A CommonMark parser finds the links. It does not say where in the text they are, so its rules are wrapped.
"""

import functools
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from operator import itemgetter
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, reference
from markdown_it.rules_inline import StateInline, autolink, image, link

from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.cleaning.markdown import verbatim_flags, without
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import with_line_feeds

# Contents of at most so many characters may be an example that is worth reading.
EXAMPLE_CHARACTERS = 200
LEFT_OUT = "…"
_DATA_HEAD = re.compile(
    r"data:(?<![\w-]data:)(?:[\w.+-]{1,80}/[\w.+-]{1,80})?(?:;[\w.+-]{1,40}(?:=[^\s,;\"'()<>]{0,80})?){0,5},"
)
# In quotes, contents may hold spaces if they are percent-encoded, and line ends if they are base64.
_QUOTED = {
    '"': re.compile(r"(?:[^\"\\\n]*+|[A-Za-z0-9+/=_%\s-]*+)(?=\\?\")"),
    "'": re.compile(r"(?:[^'\\\n]*+|[A-Za-z0-9+/=_%\s-]*+)(?=\\?')"),
}
_BARE = re.compile(r"[^\s\"<>()\\`|]*+(?:\([^\s\"<>()\\`|]*+\)[^\s\"<>()\\`|]*+)*+")
_DATA = "data:"
_BAR = re.compile(r"(?<!\\)\|")
_MIGHT_HOLD = re.compile(r"\]\(|\]:|<[A-Za-z][\w+.-]{1,31}:|<[^\s<>@]{1,64}@")
_MIGHT_HOLD_DATA = re.compile(r"(?:\]\(|\]:)\s*<?data:")


def shorten_data_uris(text: str, counts: CleaningCounts) -> str:
    """`text` with `data:image/png;base64,…` for every data URI whose contents are longer than an example."""
    if _DATA not in text:
        return text
    parts: list[str] = []
    last = 0
    for head in _DATA_HEAD.finditer(text):
        if head.start() < last:
            continue
        quoted = _QUOTED.get(text[head.start() - 1 : head.start()], _BARE)
        contents = quoted.match(text, head.end()) or _BARE.match(text, head.end())
        assert contents is not None, "it matches nothing, too"
        end = contents.end()
        if end - head.end() > EXAMPLE_CHARACTERS:
            parts += text[last : head.end()], LEFT_OUT
            last = end
            counts.data_uris += 1
    return "".join([*parts, text[last:]])


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Accept every target: none is ever shown to anybody."""
        return True

    def normalizeLink(self, url: str) -> str:
        return url


@functools.cache
def _parser() -> MarkdownIt:
    parser = _Parser("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    parser.inline.ruler.enableOnly(["text", "escape", "backticks", "link", "image", "autolink", "html_inline"])
    parser.inline.ruler2.enableOnly([])
    for name, rule, mark in (("link", link, "["), ("image", image, "!["), ("autolink", autolink, "<")):
        parser.inline.ruler.at(name, _noting(rule, mark))
    parser.block.ruler.at("reference", _reference)
    return parser


def _noting(rule: Callable[[StateInline, bool], bool], mark: str) -> Callable[[StateInline, bool], bool]:
    """`rule`, which opens with `mark`; notes each target and the [start, end) to cut before and after its text."""

    def noting(state: StateInline, silent: bool) -> bool:
        start, base, tokens = state.pos, state.env["base"], len(state.tokens)
        text = start + len(mark)
        if rule is image:  # its text is parsed by itself
            state.env["base"] = base + text
        matched = rule(state, silent)
        state.env["base"] = base
        if matched and not silent:
            attributes = next(token.attrs for token in state.tokens[tokens:] if token.attrs)
            end = state.pos - 1
            if rule is not autolink:
                end = state.md.helpers.parseLinkLabel(state, text - 1, rule is link)
            target = str(attributes.get("href", attributes.get("src")))
            state.env["links"].append((target, (base + start, base + text), (base + end, base + state.pos)))
        return matched

    return noting


def _reference(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """The parser's rule for definitions, without footnotes, which have the same shape."""
    if state.src.startswith("[^", state.bMarks[start_line] + state.tShift[start_line]):
        return False
    return reference(state, start_line, end_line, silent)


def strip_links(text: str, counts: CleaningCounts, *, only_data: bool = False) -> str:
    """Replace links and images outside code by their text, and remove link definitions; or `only_data` URIs.

    Footnotes stay, and so do references without a definition.
    """
    if (only_data and _DATA not in text) or not (_MIGHT_HOLD_DATA if only_data else _MIGHT_HOLD).search(text):
        return text
    text = with_line_feeds(text)
    cuts: list[tuple[int, int]] = []
    for target, spans in _targets(text):
        if not only_data:
            counts.links += 1
        elif target.startswith(_DATA):
            counts.data_uris += not target.endswith(LEFT_OUT)
        else:
            continue
        cuts += spans
    return without(text, sorted(cuts))


def _targets(text: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Every target outside code, and the [start, end) of `text` to cut with it."""
    lines = text.split("\n")
    front = read_front_matter(text)
    skipped = front.lines if front is not None else 0
    begins = [*accumulate((len(line) + 1 for line in lines), initial=0)]
    environment: dict[str, Any] = {"base": 0, "links": []}
    tokens = _parser().parse("\n".join(lines[skipped:]), environment)
    for definition in [*environment.get("references", {}).values(), *environment.get("duplicate_refs", ())]:
        first, end = (line + skipped for line in definition["map"])
        yield definition["href"], [(begins[first], min(begins[end], len(text)))]
    code = verbatim_flags(text, lines, only_code=True)
    end = 0
    for token in tokens:
        if token.map is None or token.type not in ("inline", "html_block") or code[token.map[0] + skipped]:
            continue
        # Search after the previous token, which may be in the same row of a table.
        content, offsets = _find(token.content, text, max(end, begins[token.map[0] + skipped]))
        if not offsets:
            continue

        def in_text(offset: int, offsets: list[tuple[int, int]] = offsets) -> int:
            here, there = offsets[bisect_right(offsets, offset, key=itemgetter(0)) - 1]
            return there + offset - here

        end = in_text(len(content))
        environment["links"] = []
        if "[" in content or "<" in content:
            _parser().inline.parse(content, _parser(), environment, [])
        for target, *spans in environment["links"]:
            yield target, [(in_text(start), in_text(stop)) for start, stop in spans]


def _find(content: str, text: str, place: int) -> tuple[str, list[tuple[int, int]]]:
    """Find `content` in `text` from `place` on: (offset in it, offset in the text) for each of its lines.

    No offsets if the parser changed more than the marks and white space at the start of lines.
    """
    offsets: list[tuple[int, int]] = []
    here = 0
    for line in content.split("\n"):
        bare = line.lstrip(" \t")
        line_end = text.find("\n", place)
        line_end = len(text) if line_end < 0 else line_end
        there = text.find(bare, place, line_end)
        if there < 0:
            # In a table, `|` is written as `\|`.
            escaped = _BAR.sub(r"\\|", content)
            return _find(escaped, text, place) if escaped != content and not offsets else (content, [])
        offsets.append((here, there - (len(line) - len(bare))))
        here += len(line) + 1
        place = line_end + 1
    return content, offsets
