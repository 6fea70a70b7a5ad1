"""Checks whether the code blocks of a text are closed and parse, without running them.

`bash -n` checks shell text, with an empty environment, so that it reads no startup file.
"""

import json
import re
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.evaluation.kinds import fence_marks

_LANGUAGES = {"yaml": "yaml", "yml": "yaml", "json": "json"} | dict.fromkeys(
    ("sh", "bash", "shell", "zsh", "console", "shell-session", "shellsession"), "shell"
)
_PROMPT = re.compile(r"^\s*\$ ")
_SECONDS = 10


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced block; `language` is yaml, json, shell or empty, and `valid` is None if it was not checked."""

    language: str
    closed: bool
    valid: bool | None


def code_blocks(text: str, *, after: int, bash: str | None) -> list[CodeBlock]:
    """The fences that end behind the first `after` characters of a text; without `bash`, shell is not checked."""
    lines = text.split("\n")
    first = text.count("\n", 0, after)
    found = []
    # A further paragraph falls into a fence only if it is open.
    for block in blocks(f"{text}\n\nafter"):
        if block.kind != "fence" or block.end <= first:
            continue
        marks, language = fence_marks(lines[block.start])
        inside = block.start + 1 < block.end <= len(lines)
        end = rf"[ \t>]*{re.escape(marks)}{re.escape(marks[0])}*[ \t]*"
        closed = inside and re.fullmatch(end, lines[block.end - 1]) is not None
        name = _LANGUAGES.get(language, "")
        valid = _is_valid(name, lines[block.start + 1 : block.end - 1], bash) if closed and name else None
        found.append(CodeBlock(name, closed, valid))
    return found


def _is_valid(language: str, lines: Sequence[str], bash: str | None) -> bool | None:
    text = textwrap.dedent("\n".join(lines)) + "\n"
    try:
        if language == "json":
            json.loads(text)
        elif language == "yaml":
            for _ in yaml.parse(text, Loader=yaml.SafeLoader):  # only events, so that aliases cannot grow
                pass
        elif bash is None:
            return None
        else:
            shell = ("\n".join(_commands(lines)) + "\n").encode("utf-8", errors="replace")
            subprocess.run([bash, "-n"], input=shell, env={}, capture_output=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    except (ValueError, yaml.YAMLError, RecursionError, subprocess.CalledProcessError):
        return False
    return True


def _commands(lines: Sequence[str]) -> Iterator[str]:
    """The lines to run: if some have a prompt, only these and their continuations."""
    prompted = any(_PROMPT.match(line) for line in lines)
    continued = False
    for line in lines:
        if not prompted or continued or _PROMPT.match(line):
            yield _PROMPT.sub("", line)
            continued = line.endswith("\\")
