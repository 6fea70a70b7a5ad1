"""What is read from a record: its texts, and what of it was not used."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nima_cli.engine.data.diagnostics import UnusableError, printable

_TYPE_NAMES = {
    bool: "true or false", dict: "an object", list: "a list", str: "text", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip


@dataclass(slots=True)
class RecordNotes:
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

    def add(self, other: "RecordNotes") -> None:
        """Add what was met elsewhere."""
        self.unused_keys |= other.unused_keys
        self.other_parts.update(other.other_parts)
        self.fields |= other.fields
        self.keys |= other.keys


def type_name(value: Any) -> str:
    """The kind of a JSON value in words."""
    return _TYPE_NAMES[type(value)]


def keys_found(record: dict[str, Any]) -> str:
    """The keys of a record, for messages."""
    return "keys found: " + (", ".join(f"`{printable(key)}`" for key in record) or "none")


def text(value: Any, key: str) -> str:
    """`value`, which must be text that can be written.

    Raises:
        UnusableError: it is not; names `key`.
    """
    if not isinstance(value, str):
        raise UnusableError(f"`{key}` is {type_name(value)}, expected text", "wrong_type")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise UnusableError(f"`{key}` holds half a character (`\\u{code:04x}` alone)", "surrogate") from error
    return value


def filled(value: str, key: str) -> str:
    """`value`, which must say something.

    Raises:
        UnusableError: it is white space; names `key`.
    """
    if not value.strip():
        raise UnusableError(f"`{key}` is empty", "empty")
    return value
