"""Reads `train.txt`, `val.txt` and `test.txt` of a prepared dataset back into documents, exactly."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nima_cli.engine.data.document import Turn

_DOCUMENT = re.compile(r"^<\|document\|> ", re.MULTILINE)
_ROLE = re.compile(r"^<\|(system|user|assistant)\|>\n", re.MULTILINE)
_ESCAPED = re.compile(r"^\\(?=\\*<\|(?:document|system|user|assistant)\|>)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ViewedDocument:
    """One document as the view shows it: prose in `text` or a conversation in `turns`."""

    kind: str
    source: str
    text: str = ""
    turns: tuple[Turn, ...] = ()


def read_view(view: str) -> Iterator[ViewedDocument]:
    """The documents of a whole view."""
    for document in _DOCUMENT.split(view)[1:]:
        head, _, body = document.partition("\n")
        kind, name = head.split(" ", 1)
        source, content = json.loads(f'"{name}"'), body.removesuffix("\n")
        if kind in ("text", "markdown"):
            yield ViewedDocument(kind, source, text=_unescaped(content))
            continue
        parts: list[Any] = _ROLE.split(content)[1:]
        turns = zip(parts[::2], parts[1::2], strict=True)
        yield ViewedDocument(kind, source, turns=tuple(Turn(role, _unescaped(said)) for role, said in turns))


def _unescaped(content: str) -> str:
    return _ESCAPED.sub("", content.removesuffix("\n"))
