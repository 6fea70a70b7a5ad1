"""Classifies the lines of a document: prose, YAML, command lines, or code by language.

In plain text it finds the literal blocks of reStructuredText, under a line that ends in `::` or a `code-block`.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.document import Kind

PROSE, YAML, JSON, COMMANDS, HTML, OTHER_CODE = "prose", "yaml", "json", "command lines", "html", "code: other"
QUESTIONS, CHATS = "question answering", "conversation"

_COMMAND_NAMES = ("sh", "bash", "shell", "zsh", "fish", "console", "terminal", "shell-session", "shellsession",
                  "sh-session", "bash-session", "powershell", "posh", "pwsh", "cmd", "bat", "doscon")  # fmt: skip
_ALIASES = {
    **dict.fromkeys(_COMMAND_NAMES, COMMANDS),
    **dict.fromkeys(("yaml", "yml"), YAML),
    **dict.fromkeys(("json", "json5", "jsonc", "jsonl"), JSON),
    **dict.fromkeys(("python", "py", "python3", "pycon", "pycon3", "doctest", "default", "ipython"), "code: python"),
    **dict.fromkeys(("go", "golang"), "code: go"),
    **dict.fromkeys(("js", "javascript", "jsx", "ts", "typescript", "tsx"), "code: javascript"),
    **dict.fromkeys(("c", "cpp", "c++", "cc", "h"), "code: c"),
    **dict.fromkeys(("hcl", "terraform", "tf"), "code: hcl"),
    **dict.fromkeys(("dockerfile", "docker"), "code: dockerfile"),
    **dict.fromkeys(("html", "xml", "svg", "html+jinja"), HTML),
    **dict.fromkeys(("text", "txt", "plain", "plaintext", "none", "output", "log"), "code: plain text"),
    **{name: f"code: {name}" for name in ("rust", "java", "kotlin", "ruby", "php", "sql", "toml", "ini", "diff",
       "promql", "css", "lua", "r", "perl", "scala", "swift", "proto", "protobuf", "makefile", "nginx", "graphql",
       "pseudocode", "rst", "markdown", "cue", "rego", "csharp", "asm")},
}  # fmt: skip
_OPENING = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)$")
_DIRECTIVE = re.compile(r"^\s*\.\. (?:code-block|sourcecode|code|productionlist)::[ \t]*(\S*)[ \t]*$")
_YAML_LINE = re.compile(r"^\s*(?:#.*|---|(?:- +)*[\w./\"'-]+:(?:\s.*)?|- .*)$")
_COMMAND_SPAN = re.compile(r"^`[^`]+`$")
_GUESSED_LINES = 40


def fence_marks(line: str) -> tuple[str, str]:
    """The marks that open a fence on this line and its language in lower case, or empty strings."""
    found = _OPENING.search(line)
    if found is None:
        return "", ""
    words = found[2].strip().strip("{}").lower().split()
    return found[1], words[0].strip(".,{}") if words else ""


def line_kinds(text: str, kind: Kind) -> list[str]:
    """The kind of each line of `text.split("\\n")`, for a document of kind `markdown` or `text`."""
    lines = text.split("\n")
    kinds = [PROSE] * len(lines)
    found = _in_markdown(text, lines) if kind == "markdown" else _in_plain_text(lines)
    for start, end, name in found:
        kinds[start:end] = [name] * (end - start)
    return kinds


def _in_markdown(text: str, lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    for block in blocks(text):
        if block.kind == "fence":
            language = fence_marks(lines[block.start])[1]
            yield block.start, block.end, _named(language, lines[block.start + 1 : block.end])
        elif block.kind == "code":
            yield block.start, block.end, _guessed(lines[block.start : block.end])
        elif block.kind == "front_matter":
            yield block.start, block.end, YAML if lines[block.start].startswith("---") else "code: toml"
        elif block.kind == "html":
            yield block.start, block.end, HTML
        # Short references give each command as a line of one code span.
        elif block.kind == "paragraph" and block.end == block.start + 1 and _COMMAND_SPAN.match(lines[block.start]):
            yield block.start, block.end, COMMANDS


def _in_plain_text(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    index = 0
    while index < len(lines):
        line, index = lines[index], index + 1
        directive = _DIRECTIVE.match(line)
        if directive is None and (not line.rstrip().endswith("::") or line.lstrip().startswith(".. ")):
            continue
        end = _end_of_indented(lines, index, len(line) - len(line.lstrip()))
        if end > index:
            yield index, end, _named(directive[1].lower() if directive else "", lines[index:end])
        index = end


def _end_of_indented(lines: Sequence[str], start: int, indent: int) -> int:
    """Index after the last line of the block that is indented deeper than `indent`; blank lines do not end it."""
    end = start
    for index in range(start, len(lines)):
        line = lines[index]
        if line.strip():
            if len(line) - len(line.lstrip()) <= indent:
                break
            end = index + 1
    return end


def _named(language: str, content: Sequence[str]) -> str:
    return _ALIASES.get(language, OTHER_CODE) if language else _guessed(content)


def _guessed(content: Sequence[str]) -> str:
    """The kind of code without a language, by its look."""
    lines = [line for line in content[:_GUESSED_LINES] if line.strip() and not fence_marks(line)[0]]
    first = lines[0].lstrip() if lines else ""
    if first.startswith((">>> ", "def ", "import ", "from ", "class ")):
        return "code: python"
    if any(line.lstrip().startswith(("$ ", "% ", "C:\\>", "PS C:\\")) for line in lines):
        return COMMANDS
    if first.startswith(("{", "[")):
        with contextlib.suppress(ValueError, RecursionError):
            json.loads(re.sub(r"^[ \t>]*(?:`{3,}|~{3,})[ \t]*$", "", "\n".join(content), flags=re.MULTILINE))
            return JSON
    if len(lines) > 1 and all(_YAML_LINE.match(line) for line in lines) and any(":" in line for line in lines):
        return YAML
    return OTHER_CODE
