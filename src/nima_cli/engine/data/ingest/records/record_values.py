"""What is read from a record: its texts, its refusal, and what of it was not used; knows no shape of records."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


class RefusedError(Exception):
    """A record that cannot be used; `what`, `reason` and `hint` are those of its `Problem`."""

    def __init__(self, what: str, reason: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.reason, self.hint = what, reason, hint


@dataclass(slots=True)
class Seen:
    """What was met in records and is worth a note.

    Attributes:
        unused_keys: keys that nothing was made of; those of messages as `messages[].name`.
        other_parts: parts of messages that are no text, by type.
        fields: entries of the mapping, as (key of ours, key of theirs), that a record had.
        keys: of records, when they are mapped.
    """

    unused_keys: set[str] = field(default_factory=set)
    other_parts: Counter[str] = field(default_factory=Counter)
    fields: set[tuple[str, str]] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    def add(self, other: "Seen") -> None:
        """Add what was met elsewhere."""
        self.unused_keys |= other.unused_keys
        self.other_parts.update(other.other_parts)
        self.fields |= other.fields
        self.keys |= other.keys


def type_name(value: Any) -> str:
    """The kind of a JSON value in words."""
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number", type(None): "null"}
    return names[type(value)]


def text(value: Any, key: str) -> str:
    """`value`, which must be text that can be written.

    Raises:
        RefusedError: it is not; names `key`.
    """
    if not isinstance(value, str):
        raise RefusedError(f"`{key}` is {type_name(value)}, expected text", "wrong_type")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise RefusedError(f"`{key}` holds half a character (`\\u{code:04x}` alone)", "surrogate") from error
    return value


def filled(value: str, key: str) -> str:
    """`value`, which must say something.

    Raises:
        RefusedError: it is white space; names `key`.
    """
    if not value.strip():
        raise RefusedError(f"`{key}` is empty", "empty")
    return value
