"""What one document is, from reading to encoding."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]
Kind = Literal["text", "markdown", "qa", "chat"]
KINDS: tuple[Kind, ...] = ("text", "markdown", "qa", "chat")
# Begins a user's turn that holds the answers of tools.
TOOL_RESPONSE = "<tool_response>"


def with_line_feeds(text: str) -> str:
    """`text` with LF for every line end, the only one that models learn."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; with a `weight` of 0 it is context, and its tokens carry no loss."""

    role: Role
    content: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Document:
    """A document to learn from: prose in `text`, or a conversation in `turns`, never both.

    Attributes:
        kind: `text` and `markdown` hold prose (a doc record is `markdown`); `qa` and `chat` hold turns.
        source: index of the source in the list of sources.
        where: `file` or `file:line`, for messages; never written into a dataset.
    """

    kind: Kind
    source: int
    where: str
    text: str = ""
    turns: tuple[Turn, ...] = ()

    @property
    def characters(self) -> int:
        """Characters of content, without roles or boundaries."""
        return len(self.text) + sum(len(turn.content) for turn in self.turns)
