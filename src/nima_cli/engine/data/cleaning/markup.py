"""Takes out of Markdown what readers do not see as text: metadata, comments, shortcodes, layout tags.

Nothing inside a fence, an indented block, a code span, `<pre>` or `<code>` is touched. Known marks go; what is not
known stays, because a placeholder such as `<name>` looks like a tag. Every kind of change is counted.
"""

import re
from collections.abc import Callable, Iterator

from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.cleaning.markdown import blocks, verbatim_lines
from nima_cli.engine.data.cleaning.mdx import without_statements
from nima_cli.engine.data.cleaning.shortcodes import (
    SHORTCODE,
    fence_code_shortcodes,
    has_options,
    is_option,
    plain_directive,
    plain_shortcode,
)
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import with_line_feeds

_LAYOUT = "div|span|br|p|img|a|center|font|figure|figcaption|picture|section|article"
# Bounds, and no mark inside another, keep every pattern linear; longer matches are text. Each begins with
# the character itself, not with a group or an assertion, so that the engine can skip to the next one.
_CODE_SPAN = r"`(?<!``)(?P<ticks>`*+)(?:(?!\n[ \t]{0,99}\n)[^\0]){1,2000}?(?<!`)`(?P=ticks)(?!`)"
_CODE_TAG = r"<(?P<tag>code|pre|kbd|samp|script|style)\b[^<>]{0,500}>(?:[^<\0]|<(?!(?P=tag)\b)){0,20000}?</(?P=tag)\s*>"
_COMMENT = r"<(?P<comment>!--(?:[^<\0]|<(?!!--)){0,100000}?-->)"
_MDX_COMMENT = r"\{(?P<mdx_comment>(?<!\{\{)/\*(?:[^*{\0]|\*(?!/\})|\{(?!/\*)){0,100000}+\*/\}(?!\}))"
_TAG = rf"<(?P<layout>/?(?:{_LAYOUT})(?:\s[^<>]{{0,2000}})?\s?/?>)"
# The end of a line; over several lines only with attributes, or a placeholder might be meant.
_COMPONENT = (
    r"<(?P<component>/?+(?-i:[A-Z][A-Z0-9]*+[a-z])[A-Za-z0-9]*+(?:\.[A-Za-z0-9]++)*+"
    r"(?:(?:[ \t][^<>\n]{0,2000})?/?|\s[^<>=]{0,500}=[^<>]{0,4000})>[ \t]*+$)"
)
_MARKS = re.compile(
    "|".join((_CODE_SPAN, _CODE_TAG, _COMMENT, _MDX_COMMENT, SHORTCODE, _TAG, _COMPONENT)), re.IGNORECASE | re.MULTILINE
)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
# What MDX fills in when a page is built.
_EXPRESSION_START = r"""\{(?:(?:props|frontMatter|metadata|toc|contentTitle|children)[.?(\[}]|[ \t]*["'] *["'])"""
_EXPRESSION = re.compile(rf"[ \t]*(?={_EXPRESSION_START})\{{[^{{}}]{{0,2000}}\}}[ \t]*")
# Parsing is slow; most texts show at a glance that there is nothing to take out.
_MIGHT_HOLD = re.compile(
    rf"(?i:<!--|</?(?:{_LAYOUT})\b)|\{{(?:\{{[<%]|/\*)|^[ \t]*(?:</?[A-Z][A-Z0-9]*+[a-z]|:::|{_EXPRESSION_START})"
    r"|^(?:im|ex)port\s",
    re.MULTILINE,
)
_MIGHT_BE_TITLED = re.compile(r"^[ \t]{0,3}(?:#(?!#)|=+[ \t]*$)", re.MULTILINE)


def strip_markup(text: str, counts: CleaningCounts) -> str:
    """`text` without front matter, comments, shortcodes and layout tags; the text inside paired ones is kept.

    The title of the front matter becomes a level-1 heading when the text has none of its own. A paired shortcode for
    code becomes a fence. A line that held nothing but marks goes.

    Args:
        text: Markdown.
    """
    text = with_line_feeds(text)
    front = read_front_matter(text)
    title = ""
    if front is not None:
        counts.front_matter += 1
        title, text = front.title, "\n".join(text.split("\n")[front.lines :])
    if _MIGHT_HOLD.search(text):
        text = fence_code_shortcodes(without_statements(text, counts), counts)
        text = _outside_code(text, lambda part: _without_marks(part, counts))
    if title and not _has_title(text):
        text = f"# {title}\n\n{text.lstrip()}" if text.strip() else f"# {title}"
    return text


def _has_title(text: str) -> bool:
    if not _MIGHT_BE_TITLED.search(text):
        return False
    return any(block.kind == "heading" and block.level == 1 for block in blocks(text))


def _outside_code(text: str, change: Callable[[str], str | None]) -> str:
    """Apply `change` to every run of lines outside code; where it returns None, the run goes."""
    lines = text.split("\n")
    parts: list[str | None] = []
    last = 0
    for start, end, _ in verbatim_lines(text, lines, only_code=True):
        if start > last:
            parts.append(change("\n".join(lines[last:start])))
        parts.append("\n".join(lines[start:end]))
        last = end
    if last < len(lines):
        parts.append(change("\n".join(lines[last:])))
    return "\n".join(part for part in parts if part is not None)


def _without_marks(part: str, counts: CleaningCounts) -> str | None:
    # Marks leave a character that no text holds, so that lines which held nothing else can be told from blank ones.
    hole = next((chr(code) for code in range(0xFDD0, 0xFDF0) if chr(code) not in part), None)
    if hole is None:
        return part
    lines = []
    for line in _block_marks(_MARKS.sub(lambda match: _replacement(match, hole, counts), part).split("\n"), counts):
        if hole not in line:
            lines.append(line)
        elif (rest := line.replace(hole, "")).strip():
            lines.append(rest)
    return "\n".join(lines) if lines else None


def _block_marks(lines: list[str], counts: CleaningCounts) -> Iterator[str]:
    """What is left of the lines where some only open or close a block, or hold what MDX fills in."""
    options = False
    for line in lines:
        title = plain_directive(line)
        mark = title is not None or _EXPRESSION.fullmatch(line) is not None
        counts.shortcodes += mark
        if title or not (mark or (options and is_option(line))):
            yield title or line
        options = (options and is_option(line)) or (mark and has_options(line))


def _replacement(match: re.Match[str], hole: str, counts: CleaningCounts) -> str:
    if match["comment"] or match["mdx_comment"]:
        counts.comments += 1
        return hole
    if match["short"]:
        counts.shortcodes += 1
        return plain_shortcode(match[0]) or hole
    if match["component"] and _is_first(match):
        counts.shortcodes += 1
        return hole
    if not match["layout"]:
        return match[0]
    counts.tags += 1
    tag = match[0]
    if tag[:4].lower() == "<img":
        found = _ALT.search(tag)
        return ((found[1] or found[2] or "") if found else "") or hole
    return f"{hole} " if tag[:3].lower() == "<br" else hole


def _is_first(match: re.Match[str]) -> bool:
    """Whether nothing stands on the line before the match."""
    line = match.string.rfind("\n", 0, match.start()) + 1
    return not match.string[line : match.start()].strip(" \t")
