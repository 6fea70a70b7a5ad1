"""The metadata that opens a Markdown file: finds it and reads its title."""

import re
import tomllib
from dataclasses import dataclass
from datetime import date, time

import yaml

_YAML_KEY = re.compile(r"""["']?[A-Za-z_][\w .-]*["']?[ \t]*:(?:[ \t]|$)""")
_TITLE = re.compile(r"""["']?title["']?[ \t]*:(?:[ \t]|$)""", re.IGNORECASE)
# What certainly belongs to a mapping, line by line: nearly all metadata is made of such lines, and parsing is slow.
# PyYAML's loader in C would be fast enough, but crashes on deep nesting.
_PLAIN_LINE = re.compile(
    r"""[ \t]*(?:\#.*)?|[A-Za-z_][\w.-]*:(?:[ \t]+(?:[^\s"'#&*!|>%@`\[\]{},?:-](?:[^:#]|:(?=[^\s]))*+)?)?""", re.VERBOSE
)
_MAX_LINES = 1000
_MAX_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """Metadata before a text.

    Attributes:
        lines: how many lines it takes, its marks included.
        title: on one line; empty if it has none.
    """

    lines: int
    title: str


def read_front_matter(text: str) -> FrontMatter | None:
    """The YAML between `---` and `---` or `...`, or the TOML between `+++`, that opens `text`; None if there is none.

    Only a mapping is metadata, and so is nothing at all; what else stands between two rules is text. A mapping with a
    title and a mistake in it is metadata all the same: nobody writes `title:` between rules for readers.

    Args:
        text: with LF line ends only.
    """
    if not text.startswith(("---", "+++")):
        return None
    # A mark that is never closed must not make reading slow.
    lines = text[:_MAX_CHARACTERS].split("\n", _MAX_LINES)[:_MAX_LINES]
    mark = lines[0].rstrip(" \t")
    closing = {"---": ("---", "..."), "+++": ("+++",)}.get(mark)
    if closing is None:
        return None
    end = next((index for index, line in enumerate(lines) if index and line.rstrip(" \t") in closing), 0)
    if not end:
        return None
    if not any(line.strip() for line in lines[1:end]):
        return FrontMatter(end + 1, "")
    title = (_yaml_title if mark == "---" else _toml_title)(lines[1:end])
    return None if title is None else FrontMatter(end + 1, " ".join(title.split()))


def _yaml_title(lines: list[str]) -> str | None:
    """The title as it is written, empty if there is none; None if these lines hold no YAML mapping."""
    if not lines[0].strip():
        return None
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if not _YAML_KEY.match(first):
        return None
    start = next((index for index, line in enumerate(lines) if _TITLE.match(line)), None)
    if start is None:
        return "" if _is_mapping(lines) else None
    end = start + 1
    # Only the title is parsed: a YAML parser in Python is slow, and nothing else is used.
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t"):
        end += 1
    try:
        loaded = _yaml("\n".join(lines[start:end]))
    except (yaml.YAMLError, RecursionError):
        return lines[start].partition(":")[2]
    value = next(iter(loaded.values()), None) if isinstance(loaded, dict) else None
    return value if isinstance(value, str) and value not in ("~", "null") else ""


def _is_mapping(lines: list[str]) -> bool:
    if all(map(_PLAIN_LINE.fullmatch, lines)):
        return True
    try:
        return isinstance(_yaml("\n".join(lines)), dict)
    except (yaml.YAMLError, RecursionError):
        return False


def _yaml(text: str) -> object:
    """With every scalar as it is written: a title `1.10` is no number, `On` no truth and `2024-01-01` no date."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def _toml_title(lines: list[str]) -> str | None:
    try:
        loaded = tomllib.loads("\n".join(lines), parse_float=str)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    value = {key.lower(): value for key, value in loaded.items()}.get("title", "")
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | date | time) else ""
