"""Removes metadata, comments, shortcodes and layout tags from Markdown outside code.

Only known marks go, because a placeholder such as `<name>` looks like a tag.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from nima_cli.engine.data.cleaning import shortcodes
from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.cleaning.markdown import blocks, verbatim_lines, without
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from nima_cli.engine.data.document import with_line_feeds

_LAYOUT = "div|span|br|p|img|a|center|font|figure|figcaption|picture|section|article"
# Bounds, and no mark inside another, keep every pattern linear; longer matches are text. Each begins with a plain
# character, not with a group or an assertion, so that the engine can skip to the next one.
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
    "|".join((_CODE_SPAN, _CODE_TAG, _COMMENT, _MDX_COMMENT, shortcodes.SHORTCODE, _TAG, _COMPONENT)),
    re.IGNORECASE | re.MULTILINE,
)
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
# MDX fills these in when a page is built.
_EXPRESSION_START = r"""\{(?:(?:props|frontMatter|metadata|toc|contentTitle|children)[.?(\[}]|[ \t]*["'] *["'])"""
_EXPRESSION = re.compile(rf"[ \t]*(?={_EXPRESSION_START})\{{[^{{}}]{{0,2000}}\}}[ \t]*")
# Parsing is slow, and most texts hold nothing to take out.
_MIGHT_HOLD = re.compile(
    rf"(?i:<!--|</?(?:{_LAYOUT})\b)|\{{(?:\{{[<%]|/\*)|^[ \t]*(?:</?[A-Z][A-Z0-9]*+[a-z]|:::|{_EXPRESSION_START})"
    r"|^(?:im|ex)port\s",
    re.MULTILINE,
)
_MIGHT_BE_TITLED = re.compile(r"^[ \t]{0,3}(?:#(?!#)|=+[ \t]*$)", re.MULTILINE)


def strip_markup(text: str, counts: CleaningCounts) -> str:
    """Remove front matter, comments, shortcodes and layout tags, but keep the text inside paired ones.

    The title of the front matter becomes a level-1 heading when the text has none. A paired shortcode for code becomes
    a fence. A line that held nothing but marks goes.
    """
    text = with_line_feeds(text)
    front = read_front_matter(text)
    title = ""
    if front is not None:
        counts.front_matter += 1
        title, text = front.title, "\n".join(text.split("\n")[front.lines :])
    if _MIGHT_HOLD.search(text):
        text = shortcodes.fence_code_shortcodes(without_statements(text, counts), counts)
        text = _without_marks(text, counts)
    if title and not (_MIGHT_BE_TITLED.search(text) and any(block.level == 1 for block in blocks(text))):
        text = f"# {title}\n\n{text.lstrip()}" if text.strip() else f"# {title}"
    return text


def _without_marks(text: str, counts: CleaningCounts) -> str:
    lines = text.split("\n")
    kept: list[str] = []
    last = 0
    code = [(start, end) for start, end, _ in verbatim_lines(text, lines, only_code=True)]
    for start, end in [*code, (len(lines), len(lines))]:
        if start > last:
            kept += _run_without_marks("\n".join(lines[last:start]), counts)
        kept += lines[start:end]
        last = end
    return "\n".join(kept)


def _run_without_marks(part: str, counts: CleaningCounts) -> list[str]:
    """What is left of a run of lines outside code."""
    # Marks leave a character that no text holds, so that lines which held nothing else can be told from blank ones.
    hole = next((chr(code) for code in range(0xFDD0, 0xFDF0) if chr(code) not in part), None)
    if hole is None:
        return [part]
    lines = _MARKS.sub(lambda match: _replacement(match, hole, counts), part).split("\n")
    rests = ((line, line.replace(hole, "")) for line in _block_marks(lines, counts))
    return [rest for line, rest in rests if hole not in line or rest.strip()]


def _block_marks(lines: list[str], counts: CleaningCounts) -> Iterator[str]:
    """The lines without those that only open or close a block or hold what MDX fills in."""
    options = False
    for line in lines:
        title = shortcodes.plain_directive(line)
        mark = title is not None or _EXPRESSION.fullmatch(line) is not None
        counts.shortcodes += mark
        option = options and shortcodes.OPTION.fullmatch(line) is not None
        if title or not (mark or option):
            yield title or line
        # As in MyST, options may follow a mark with braces.
        options = option or (mark and line.lstrip(" \t:").startswith("{"))


def _replacement(match: re.Match[str], hole: str, counts: CleaningCounts) -> str:
    if match["comment"] or match["mdx_comment"]:
        counts.comments += 1
        return hole
    if match["short"]:
        counts.shortcodes += 1
        return shortcodes.plain_shortcode(match[0]) or hole
    if match["component"]:
        line_start = match.string.rfind("\n", 0, match.start()) + 1
        if not match.string[line_start : match.start()].strip(" \t"):
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


# What follows finds the statements of MDX; `import "fmt"`, `export PATH=$PATH:/x` or a sentence on exports stay.
_NAME = r"[A-Za-z_$][\w$]*+"
_STRING = r"(?:\"[^\"\n]{1,300}\"|'[^'\n]{1,300}')"
_STAR = rf"\*\s*+as\s++{_NAME}"
_BRACES = r"\{[^{}\"'`;]{0,4000}\}"
_END = r";?[ \t]*+$"
_IMPORT = (
    rf"import(?:[ \t]+type)?(?:\s++{_NAME}(?:\s*+,\s*+(?:{_STAR}|{_BRACES}))?|\s*+(?:{_STAR}|{_BRACES}))"
    rf"\s*+from\s*+{_STRING}{_END}"
    # A file imported for its effects; a bare name is a package of another language.
    rf"|import\s++(?:\"[./@~][^\"\n]{{0,300}}\"|'[./@~][^'\n]{{0,300}}'){_END}"
)
_EXPORT = (
    rf"export\s++(?:(?:const|let|var)\s++(?:{_NAME}|{_BRACES}|\[[\w$, ]{{0,500}}\])(?:\s*+:[^=;\n]{{0,300}})?\s*+="
    rf"|(?:default\s++)?(?:async\s++)?function\b\s*+\*?\s*+(?:{_NAME})?\s*+\("
    rf"|(?:default\s++)?class\b(?:\s++[A-Za-z_$][\w$.]*+){{0,3}}\s*+\{{"
    rf"|type\s++{_NAME}\s*+=|interface\s++{_NAME}\s*+\{{"
    rf"|default\s++(?:{_NAME}{_END}|\{{|\(\s*+[){{]|\([\w$, \t]*\)\s*+=>)"
    rf"|(?:{_BRACES}(?:\s*+from\s*+{_STRING})?|\*(?:\s*+as\s++{_NAME})?\s*+from\s*+{_STRING}){_END})"
)
_HEAD = re.compile(rf"^(?:{_IMPORT}|{_EXPORT})", re.MULTILINE)
# Strings and comments, in which brackets do not count; no alternative can match in two ways.
_TOKEN = re.compile(
    r"\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+'|`(?:[^`\\]|\\[\s\S])*+`|(?<!:)//[^\n]*+"
    r"|/\*(?:[^*/]|\*(?!/)|/(?!\*))*+\*/|(?P<opens>[({\[])|(?P<closes>[)}\]])|(?P<line_end>\n)"
)
_UNFINISHED = ("=", "=>", ",", "(", "+", "?", ":", "&&", "||")
_GOES_ON = re.compile(r"\n[ \t]++[.?:|&+]")


def without_statements(text: str, counts: CleaningCounts) -> str:
    """`text` (with LF line ends) without the imports and exports that begin a line outside code."""
    statements = list(_statements(text))
    counts.shortcodes += len(statements)
    return without(text, statements)


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """The [start, end) of the statements, in order; they do not overlap, so that unclosed ones are read once."""
    heads = [found.start() for found in _HEAD.finditer(text)]
    if not heads:
        return
    lines = text.split("\n")
    offsets = [0, *accumulate(len(line) + 1 for line in lines)]
    verbatim = verbatim_lines(text, lines, only_code=True)
    # Indented lines may be those of a statement.
    code = [(offsets[start], offsets[end]) for start, end, kind in verbatim if kind != "code"]
    starts = [start for start, _ in code]
    free = [head for head in heads if not (n := bisect_right(starts, head)) or head >= code[n - 1][1]]
    limits = sorted([*free, *starts, len(text)])
    for head in free:
        end = _end(text, head, limits[bisect_right(limits, head)])
        if end is not None:
            yield head, end


def _end(text: str, start: int, limit: int) -> int | None:
    """The offset after the line that ends a statement; None if its brackets are not closed."""
    depth = 0
    for token in _TOKEN.finditer(text, start, limit):
        depth += (token["opens"] is not None) - (token["closes"] is not None)
        if depth < 0:
            return None
        if token["line_end"] and not depth and not _goes_on(text, token.start()):
            return token.end()
    return None if depth else limit


def _goes_on(text: str, line_end: int) -> bool:
    line = text[text.rfind("\n", 0, line_end) + 1 : line_end].rstrip(" \t")
    unfinished = line.endswith(_UNFINISHED) and not text.startswith("\n", line_end + 1)
    return unfinished or _GOES_ON.match(text, line_end) is not None
