"""Takes what is no text out of Markdown: metadata, comments, shortcodes, layout tags, link targets; pure functions.

Nothing inside a fence, an indented block, a code span, `<pre>` or `<code>` is touched. Known marks go; what is not
known stays, because a placeholder such as `<name>` looks like a tag. Every kind of change is counted.
"""

import re
from collections.abc import Callable, Iterator

from nima_cli.engine.data.clean import CleanReport, end_of_pre
from nima_cli.engine.data.document import with_line_feeds
from nima_cli.engine.data.front_matter import read_front_matter
from nima_cli.engine.data.markdown import blocks
from nima_cli.engine.data.shortcodes import SHORTCODE, fence_code_shortcodes, plain_shortcode

_LAYOUT = "div|span|br|p|img|a|center|font|figure|figcaption|picture|section|article"
# Bounds, and no mark inside another, keep every pattern linear; what is longer is no mark but text.
_CODE_SPAN = r"(?<!`)(?P<ticks>`++)(?:(?!\n[ \t]*\n)[^\0]){1,2000}?(?<!`)(?P=ticks)(?!`)"
_CODE_TAG = r"<(?P<tag>code|pre|kbd|samp|script|style)\b[^<>]{0,500}>(?:[^<\0]|<(?!(?P=tag)\b)){0,20000}?</(?P=tag)\s*>"
_COMMENT = r"(?P<comment><!--(?:[^<\0]|<(?!!--)){0,100000}?-->)"
_TAG = rf"(?P<layout></?(?:{_LAYOUT})(?:\s[^<>]{{0,2000}})?\s?/?>)"
_MARKS = re.compile(rf"{_CODE_SPAN}|{_CODE_TAG}|{_COMMENT}|(?P<short>{SHORTCODE})|{_TAG}", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_ADMONITION = re.compile(r"[ \t]*:{3,}[ \t]*(?:[a-z]+(?:[ \t]+(?P<title>\S.*)|\[(?P<bracket>[^\]]*)\].*)?)?[ \t]*")
_IMPORT = re.compile(r"""import\s[^"']{1,200}\sfrom\s+["'][^"']{1,300}["'];?[ \t]*""")
_COMPONENT = re.compile(r"[ \t]*</?[A-Z][A-Z0-9]*+[a-z][A-Za-z0-9]*+(?:\s[^<>]{0,2000})?/?>[ \t]*")
_LINK = re.compile(
    rf"{_CODE_SPAN}|(?P<link>!?\[(?P<text>(?:[^\[\]\n]|\[[^\[\]\n]{{0,200}}\]){{0,500}})\]"
    r"\((?:[^()\s]|\([^()\s]{0,500}\)){0,2000}(?:[ \t]+\"[^\"\n]{0,500}\")?\))"
)
# Parsing is slow; most texts show at a glance that there is nothing to take out.
_MIGHT_HOLD = re.compile(
    rf"(?i:<!--|</?(?:{_LAYOUT})\b)|\{{\{{[<%]|^[ \t]*(?:</?[A-Z][A-Z0-9]*+[a-z]|:::)|^import\s", re.MULTILINE
)
_MIGHT_BE_TITLED = re.compile(r"^[ \t]{0,3}(?:#(?!#)|=+[ \t]*$)", re.MULTILINE)


def strip_markup(text: str, report: CleanReport) -> str:
    """`text` without front matter, comments, shortcodes and layout tags; the text inside paired ones is kept.

    The title of the front matter becomes a level-1 heading when the text has none of its own. A paired shortcode for
    code becomes a fence. A line that held nothing but marks goes.

    Args:
        text: Markdown.
        report: what was done is added to it.
    """
    text = with_line_feeds(text)
    front = read_front_matter(text)
    title = ""
    if front is not None:
        report.front_matter += 1
        title, text = front.title, "\n".join(text.split("\n")[front.lines :])
    if _MIGHT_HOLD.search(text):
        text = fence_code_shortcodes(text, report)
        text = _outside_code(text, lambda part: _without_marks(part, report))
    if title and not _has_title(text):
        text = f"# {title}\n\n{text.lstrip()}" if text.strip() else f"# {title}"
    return text


def _has_title(text: str) -> bool:
    if not _MIGHT_BE_TITLED.search(text):
        return False
    return any(block.kind == "heading" and block.level == 1 for block in blocks(text))


def strip_links(text: str, report: CleanReport) -> str:
    """`text` with the text of links and images instead of `[text](target)`, outside code."""

    def replaced(match: re.Match[str]) -> str:
        if match["link"] is None:
            return match[0]
        report.links += 1
        return match["text"]

    if "](" not in text:
        return text
    return _outside_code(with_line_feeds(text), lambda part: _LINK.sub(replaced, part))


def _outside_code(text: str, change: Callable[[str], str | None]) -> str:
    """`change` on every stretch of lines that is no code; None takes the whole stretch away."""
    lines = text.split("\n")
    parts: list[str | None] = []
    last = 0
    for start, end in _code_lines(text, lines):
        if start > last:
            parts.append(change("\n".join(lines[last:start])))
        parts.append("\n".join(lines[max(start, last) : end]))
        last = max(end, last)
    if last < len(lines):
        parts.append(change("\n".join(lines[last:])))
    return "\n".join(part for part in parts if part is not None)


def _code_lines(text: str, lines: list[str]) -> Iterator[tuple[int, int]]:
    """(first line, line after the last) of what must stay byte for byte, in order."""
    last = 0
    for block in blocks(text):
        start, end = max(block.start, last), block.end
        if block.kind == "html":
            html = "\n".join(lines[block.start : block.end]).lower()
            if not any(f"<{tag}" in html for tag in ("pre", "script", "style", "textarea")):
                continue
            end = end_of_pre(lines, block.start, block.end)
        elif block.kind not in ("fence", "code"):
            continue
        if end > start:
            yield start, end
            last = end


def _without_marks(part: str, report: CleanReport) -> str | None:
    # Marks leave a character that no text holds, so that lines which held nothing else can be told from blank ones.
    hole = next((chr(code) for code in range(0xFDD0, 0xFDF0) if chr(code) not in part), None)
    if hole is None:
        return part
    lines = []
    for line in _MARKS.sub(lambda match: _replacement(match, hole, report), part).split("\n"):
        kept = _component_line(line, hole, report)
        if hole not in kept:
            lines.append(kept)
        elif (rest := kept.replace(hole, "")).strip():
            lines.append(rest)
    return "\n".join(lines) if lines else None


def _replacement(match: re.Match[str], hole: str, report: CleanReport) -> str:
    if match["comment"] is not None:
        report.comments += 1
        return hole
    if match["short"] is not None:
        report.shortcodes += 1
        return plain_shortcode(match["short"]) or hole
    tag = match["layout"]
    if tag is None:
        return match[0]
    report.tags += 1
    if tag[:4].lower() == "<img":
        found = _ALT.search(tag)
        return ((found[1] or found[2] or "") if found else "") or hole
    return f"{hole} " if tag[:3].lower() == "<br" else hole


def _component_line(line: str, hole: str, report: CleanReport) -> str:
    """What is left of a line that only opens, closes or imports a Docusaurus component."""
    admonition = _ADMONITION.fullmatch(line)
    if admonition is None and not _IMPORT.fullmatch(line) and not _COMPONENT.fullmatch(line):
        return line
    report.shortcodes += 1
    title = (admonition["title"] or admonition["bracket"] or "").strip() if admonition else ""
    return title or hole
