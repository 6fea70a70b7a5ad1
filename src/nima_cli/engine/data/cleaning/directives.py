"""What lines with `:::` say in plain Markdown; knows nothing of where in a text they stand.

Docusaurus, VitePress, Pandoc, MyST and DocFX open and close blocks with them: `:::note Title`, `:::tip[Title]`,
`::: {.class title="Title"}`, `:::{tip} Title`, `:::image alt-text="Words":::`, `:::`, and with more colons outside.
"""

import re

_MARK = ":::"
_NAME = re.compile(r"(?:\{(?P<braced>[^{}]*)\}|(?P<name>[A-Za-z][\w-]*+))(?=[ \t\[{]|\Z)")
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


def plain_directive(line: str) -> str | None:
    """The title of a block, or the words for a picture, where the line is a mark with `:::`; None if it is none."""
    said = line.strip(" \t")
    if not said.startswith(_MARK):
        return None
    said = said.lstrip(":").lstrip(" \t")
    if said.endswith(_MARK):
        said = said.rstrip(":").rstrip(" \t")
    if not said:
        return ""
    found = _NAME.match(said)
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
