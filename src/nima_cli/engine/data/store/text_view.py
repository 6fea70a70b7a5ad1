r"""The readable `train.txt`, `val.txt` and `test.txt`: documents as text and back, exactly; knows nothing of tokens.

A line `<|document|> kind source` opens each document; in a conversation `<|system|>`, `<|user|>` and `<|assistant|>`
alone on a line open each turn. A content line that starts like one of them gets a backslash in front, and one that
starts with backslashes before such a mark gets one more, so that reading takes exactly one away. The source name is
written with JSON's escapes. A blank line closes each document.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nima_cli.engine.data.document import KINDS, Kind, Role, Turn
from nima_cli.errors import DataError

_SEPARATOR = "<|document|>"
_ROLE_LINES: dict[str, Role] = {"<|system|>": "system", "<|user|>": "user", "<|assistant|>": "assistant"}
_ESCAPED = re.compile(r"\\*<\|(?:document|system|user|assistant)\|>")


@dataclass(frozen=True, slots=True)
class Entry:
    """One document as the view shows it: prose in `text` or a conversation in `turns`."""

    kind: Kind
    source: str
    text: str = ""
    turns: tuple[Turn, ...] = ()


def render_entry(entry: Entry) -> str:
    """The lines of one document, the last one blank."""
    head = f"{_SEPARATOR} {entry.kind} {json.dumps(entry.source)[1:-1]}\n"
    if entry.kind in ("text", "markdown"):
        return f"{head}{_escape(entry.text)}\n"
    return head + "".join(f"<|{turn.role}|>\n{_escape(turn.content)}" for turn in entry.turns) + "\n"


def parse_entries(text: str, *, where: str) -> Iterator[Entry]:
    """The documents of a view, the inverse of `render_entry` over any number of them.

    Raises:
        DataError: text before the first separator, or a line that no view holds; names `where:line`.
    """
    head, head_line, body = "", 0, list[str]()
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        if not line.startswith(_SEPARATOR):
            body.append(line)
            if not head:
                raise DataError(f"{where}:{number}: expected `{_SEPARATOR}` before any text")
            continue
        if head:
            yield _entry(head, body, f"{where}:{head_line}")
        head, head_line, body = line, number, []
    if head:
        yield _entry(head, body, f"{where}:{head_line}")


def _escape(content: str) -> str:
    lines = content.split("\n")
    return "".join(f"\\{line}\n" if _ESCAPED.match(line) else f"{line}\n" for line in lines)


def _unescape(lines: list[str]) -> str:
    return "\n".join(line[1:] if _ESCAPED.match(line) else line for line in lines)


def _entry(head: str, body: list[str], where: str) -> Entry:
    if body[-1:] == [""]:
        body.pop()
    words = head.split(" ", 2)
    if len(words) != 3 or words[1] not in KINDS:
        raise DataError(f"{where}: expected `{_SEPARATOR} kind source`, where kind is one of {', '.join(KINDS)}")
    try:
        source = json.loads(f'"{words[2]}"')
    except ValueError:
        raise DataError(f"{where}: the source name is not written with JSON's escapes") from None
    kind = words[1]
    if kind in ("text", "markdown"):
        return Entry(kind, source, text=_unescape(body))
    return Entry(kind, source, turns=tuple(_turns(body, where)))


def _turns(body: list[str], where: str) -> Iterator[Turn]:
    starts = [index for index, line in enumerate(body) if line in _ROLE_LINES]
    if starts[:1] != [0]:
        raise DataError(f"{where}: a conversation must open with a role line such as `<|user|>`")
    for start, end in zip(starts, [*starts[1:], len(body)], strict=True):
        yield Turn(_ROLE_LINES[body[start]], _unescape(body[start + 1 : end]))
