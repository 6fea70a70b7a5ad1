"""Whether the code blocks of a text are whole and parse. Nothing of what is read is run.

Shell text is given to `bash -n`, which reads without executing, with an empty environment: no file is read before it.
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
    """One fence.

    Attributes:
        language: yaml, json or shell; empty for what has no check here.
        valid: whether it parses; None when it was not checked, because it is open, unnamed, or there is no checker.
    """

    language: str
    closed: bool
    valid: bool | None


def code_blocks(text: str, *, after: int, bash: str | None) -> list[CodeBlock]:
    """The fences of a text that end behind its first `after` characters; without `bash`, shell is not checked."""
    lines = text.split("\n")
    first = text.count("\n", 0, after)
    found = []
    # A paragraph after the text falls into a fence that is still open, and only there.
    for block in blocks(f"{text}\n\nafter"):
        # A fence that ends where the part of the model begins was closed by somebody else.
        if block.kind != "fence" or block.end <= first:
            continue
        marks, language = fence_marks(lines[block.start])
        inside = block.start + 1 < block.end <= len(lines)
        closed = inside and _closes(lines[block.end - 1], marks)
        name = _LANGUAGES.get(language, "")
        valid = _is_valid(name, lines[block.start + 1 : block.end - 1], bash) if closed and name else None
        found.append(CodeBlock(name, closed, valid))
    return found


def _closes(line: str, marks: str) -> bool:
    return re.fullmatch(rf"[ \t>]*{re.escape(marks)}{re.escape(marks[0])}*[ \t]*", line) is not None


def _is_valid(language: str, lines: Sequence[str], bash: str | None) -> bool | None:
    text = textwrap.dedent("\n".join(lines)) + "\n"
    try:
        if language == "json":
            json.loads(text)
        elif language == "yaml":
            for _ in yaml.parse(text, Loader=yaml.SafeLoader):  # events only: nothing is built, no alias can grow
                pass
        else:
            return _is_shell("\n".join(_commands(lines)) + "\n", bash)
    except (ValueError, yaml.YAMLError, RecursionError):
        return False
    return True


def _commands(lines: Sequence[str]) -> Iterator[str]:
    """The lines typed: where some have a prompt, those, without it, and what they continue on."""
    prompted = any(_PROMPT.match(line) for line in lines)
    continued = False
    for line in lines:
        if not prompted or continued or _PROMPT.match(line):
            yield _PROMPT.sub("", line)
            continued = line.endswith("\\")


def _is_shell(text: str, bash: str | None) -> bool | None:
    if bash is None:
        return None
    data = text.encode("utf-8", errors="replace")
    try:
        done = subprocess.run([bash, "-n"], input=data, env={}, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode == 0
