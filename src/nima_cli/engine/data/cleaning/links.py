"""Takes out what readers do not read: contents of data URIs, targets of links and pictures in Markdown.

Structure comes from a CommonMark parser: a link may go over several lines, hold a picture that is a link of its own,
or be defined elsewhere. The parser does not say where in a text its tokens are, so its rules are watched.
"""

import functools
import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from operator import itemgetter
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, reference
from markdown_it.rules_inline import StateInline, autolink, image, link

from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.cleaning.markdown import verbatim_lines, without
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import with_line_feeds

# As many characters of contents may be an example that is worth reading.
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
        end = _data_end(text, head)
        if end - head.end() > EXAMPLE_CHARACTERS:
            parts += text[last : head.end()], LEFT_OUT
            last = end
            counts.data_uris += 1
    return "".join([*parts, text[last:]])


def _data_end(text: str, head: re.Match[str]) -> int:
    quoted = _QUOTED.get(text[head.start() - 1 : head.start()])
    found = quoted.match(text, head.end()) if quoted is not None else None
    found = found or _BARE.match(text, head.end())
    assert found is not None, "it matches nothing, too"
    return found.end()


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
    """Remember a link, picture or autolink, and what of the text around it is cut: [start, end) twice."""
    base = state.env["base"]
    state.env["links"].append((target, *((start + base, end + base) for start, end in (before, after))))


def _reference(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Footnotes have the shape of definitions."""
    if state.src.startswith("[^", state.bMarks[start_line] + state.tShift[start_line]):
        return False
    return reference(state, start_line, end_line, silent)


def strip_links(text: str, counts: CleaningCounts, *, only_data: bool = False) -> str:
    """`text` with the text of links and pictures instead of the whole of them, outside code, and no definitions.

    Footnotes stay, and so do references to what is defined nowhere.

    Args:
        only_data: only those whose target is a data URI.
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
    for first, end, _ in verbatim_lines(text, lines, only_code=True):
        code[first:end] = b"\1" * (end - first)
    end = 0
    for token in tokens:
        if token.map is None or token.type not in ("inline", "html_block") or code[token.map[0] + skipped]:
            continue
        # After the one before, which may be in the same row of a table.
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
    """Where `content` is in `text` from `place` on, as (offset in it, offset in the text) for each of its lines.

    Empty if the parser changed more than what stands before its lines: the marks of lists and quotes, and white space.
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
