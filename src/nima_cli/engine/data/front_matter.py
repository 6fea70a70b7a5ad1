"""The metadata that opens a Markdown file: finds it and reads its title; knows nothing of what is done with either."""

import re
import tomllib
from dataclasses import dataclass

import yaml

_YAML_KEY = re.compile(r"""["']?[A-Za-z_][\w .-]*["']?[ \t]*:(?:[ \t]|$)""")
_TITLE = re.compile(r"""["']?title["']?[ \t]*:(?:[ \t]|$)""", re.IGNORECASE)
_MAX_LINES = 1000


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

    What stands between two rules and holds no keys is text: nothing is taken for metadata that does not look like it.

    Args:
        text: with LF line ends only.
    """
    if not text.startswith(("---", "+++")):
        return None
    # A mark that is never closed must not make reading slow.
    lines = text.split("\n", _MAX_LINES)[:_MAX_LINES]
    mark = lines[0].rstrip(" \t")
    closing = {"---": ("---", "..."), "+++": ("+++",)}.get(mark)
    if closing is None:
        return None
    end = next((index for index, line in enumerate(lines) if index and line.rstrip(" \t") in closing), 0)
    title = (_yaml_title if mark == "---" else _toml_title)(lines[1:end]) if end else None
    return None if title is None else FrontMatter(end + 1, " ".join(title.split()))


def _yaml_title(lines: list[str]) -> str | None:
    """The title, empty if there is none; None if these lines hold no YAML mapping."""
    if not lines or not lines[0].strip():
        return None
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if not _YAML_KEY.match(first):
        return None
    start = next((index for index, line in enumerate(lines) if _TITLE.match(line)), None)
    if start is None:
        return ""
    end = start + 1
    # Only the title is parsed: a YAML parser in Python is slow, and nothing else is used.
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t"):
        end += 1
    try:
        loaded = yaml.safe_load("\n".join(lines[start:end]))
    except (yaml.YAMLError, ValueError, RecursionError):
        return lines[start].partition(":")[2]
    value = next(iter(loaded.values()), None) if isinstance(loaded, dict) else None
    return str(value) if isinstance(value, str | int | float) else ""


def _toml_title(lines: list[str]) -> str | None:
    if not lines:
        return None
    try:
        loaded = tomllib.loads("\n".join(lines))
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    value = {key.lower(): value for key, value in loaded.items()}.get("title")
    return value if isinstance(value, str) else ""
