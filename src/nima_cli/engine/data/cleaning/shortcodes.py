"""What Hugo's shortcodes and lines with `:::` say in plain Markdown.

Hugo fills `{{< name … >}}` and `{{% name … %}}` when a site is built. Those that hold code become fences; those that
stand for words leave their words; the rest leaves nothing but what stands between an opening and a closing one.

Docusaurus, VitePress, Pandoc, MyST and DocFX open and close blocks with colons: `:::note Title`, `:::tip[Title]`,
`::: {.class title="Title"}`, `:::{tip} Title`, `:::image alt-text="Words":::`, `:::`, and with more colons outside.
"""

import re
from bisect import bisect_right

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts

# Hugo writes a shortcode that it shall not fill as `{{</* name */>}}`.
SHORTCODE = r"\{(?P<short>\{(?:<(?:[^{\0]|\{(?!\{)){0,2000}?>|%(?:[^{\0]|\{(?!\{)){0,2000}?%)\}\})"
_OPEN = re.compile(
    r"(?P<margin>[ \t]*)\{\{[<%]\s*(?P<name>text|highlight)\b\s*\"?(?P<language>[\w+#-]*)[^{}]*[>%]\}\}[ \t]*"
)
_CLOSE = re.compile(r"^[ \t]*\{\{[<%]\s*/(?P<name>text|highlight)\s*[>%]\}\}[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"\{\{[<%]\s*(?P<name>[\w./-]*)")
_TEXT = re.compile(r"""\btext\s*=\s*(?:"([^"]*)"|`([^`]*)`)""")
_FIRST = re.compile(r"""\{\{[<%]\s*[\w-]+\s+(?:"([^"]*)"|`([^`]*)`|(\S+))""")
# These stand for their first argument.
_SPOKEN = frozenset({"ref", "relref", "heading"})
_TICKS = re.compile(r"`{3,}")

_COLONS = ":::"
_DIRECTIVE_NAME = re.compile(r"(?:\{(?P<braced>[^{}]*)\}|(?P<name>[A-Za-z][\w-]*+))(?=[ \t\[{]|\Z)")
_BRACKET = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*+\])*+)\]")
_ATTRIBUTE = re.compile(r"""(?<![\w-])([\w-]++)=(?:"([^"]*)"|'([^']*)')""")
_ATTRIBUTES_AT_END = re.compile(r"\{[^{}]*+\}\Z")
_SAID = ("title", "alt-text", "alt", "label")
# What stands behind these names is a file or a language.
_NAMES_WITHOUT_TITLE = frozenset(
    {"code", "code-block", "code-cell", "csv-table", "figure", "iframe", "image", "include", "literalinclude", "math",
     "raw", "toctree", "video"}
)  # fmt: skip
_OPTION = re.compile(r"[ \t]*:[A-Za-z][\w-]*:(?:[ \t].*)?")


def plain_shortcode(mark: str) -> str:
    """The words that one shortcode stands for; empty if it is only a mark."""
    found = _TEXT.search(mark)
    if found is not None:
        return found[1] or found[2] or ""
    name = _NAME.match(mark)
    if name is not None and name["name"] in _SPOKEN:
        first = _FIRST.match(mark)
        return (first[1] or first[2] or first[3] or "") if first is not None else ""
    return ""


def fence_code_shortcodes(text: str, counts: CleaningCounts) -> str:
    """Write `{{< text bash >}}` … `{{< /text >}}`, and the same with `highlight`, as fences; what they hold is kept.

    Only marks on lines of their own outside fences count, and only when they are closed.
    """
    if not _CLOSE.search(text):
        return text
    lines = text.split("\n")
    fenced = {line for block in blocks(text) if block.kind == "fence" for line in range(block.start, block.end)}
    closings: dict[str, list[int]] = {"text": [], "highlight": []}
    for index, line in enumerate(lines):
        if (closing := _CLOSE.fullmatch(line)) is not None:
            closings[closing["name"]].append(index)
    end = -1
    for index, line in enumerate(lines):
        opening = _OPEN.fullmatch(line) if index > end and index not in fenced else None
        later = closings[opening["name"]] if opening is not None else []
        place = bisect_right(later, index)
        if opening is None or place == len(later):
            continue
        end = later[place]
        longest = max((len(run) for held in lines[index + 1 : end] for run in _TICKS.findall(held)), default=2)
        ticks = "`" * (longest + 1)
        lines[index] = f"{opening['margin']}{ticks}{opening['language']}"
        lines[end] = f"{opening['margin']}{ticks}"
        counts.shortcodes += 2
    return "\n".join(lines)


def plain_directive(line: str) -> str | None:
    """The title of a block, or the words for a picture, where the line is a mark with `:::`; None if it is none."""
    said = line.strip(" \t")
    if not said.startswith(_COLONS):
        return None
    said = said.lstrip(":").lstrip(" \t")
    if said.endswith(_COLONS):
        said = said.rstrip(":").rstrip(" \t")
    if not said:
        return ""
    found = _DIRECTIVE_NAME.match(said)
    return None if found is None else _title(found["braced"] or "", found["name"] or "", said[found.end() :])


def _title(braced: str, name: str, rest: str) -> str:
    bracket = _BRACKET.match(rest)
    if bracket is not None:
        return bracket[1].strip()
    rest = rest.strip()
    if not rest or rest.startswith("{") or _ATTRIBUTE.match(rest):
        values = {key: double or single for key, double, single in _ATTRIBUTE.findall(f"{braced} {rest}")}
        return next((values[key].strip() for key in _SAID if key in values), "")
    if (name or braced.strip()).lower() in _NAMES_WITHOUT_TITLE:
        return ""
    return _ATTRIBUTES_AT_END.sub("", rest).strip()


def has_options(line: str) -> bool:
    """Whether a line that is such a mark may be followed by options, as in MyST."""
    return line.lstrip(" \t:").startswith("{")


def is_option(line: str) -> bool:
    """Whether a line that follows says `:name: value`."""
    return _OPTION.fullmatch(line) is not None
