"""Checks the texts of a record, and notes what of it was not used."""

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
    """What records held that is worth a note.

    Attributes:
        unused_keys: those of messages as `messages[].name`.
        other_parts: parts of messages that are not text, by type.
        fields: entries of the mapping that a record had, as (our key, their key).
        keys: all keys of records, if these are mapped.
    """

    unused_keys: set[str] = field(default_factory=set)
    other_parts: Counter[str] = field(default_factory=Counter)
    fields: set[tuple[str, str]] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    def add(self, other: "RecordNotes") -> None:
        """Add the notes on other records."""
        self.unused_keys |= other.unused_keys
        self.other_parts.update(other.other_parts)
        self.fields |= other.fields
        self.keys |= other.keys


def type_name(value: Any) -> str:
    """Name the type of a JSON value."""
    return _TYPE_NAMES[type(value)]


def keys_found(record: dict[str, Any]) -> str:
    """List the keys of a record for a message."""
    return "keys found: " + (", ".join(f"`{printable(key)}`" for key in record) or "none")


def text(value: Any, key: str) -> str:
    """Return `value` if it is text that UTF-8 can encode; raise UnusableError otherwise."""
    if not isinstance(value, str):
        raise UnusableError(f"`{key}` is {type_name(value)}, expected text", "wrong_type")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        raise UnusableError(f"`{key}` holds half a character (`\\u{code:04x}` alone)", "surrogate") from error
    return value


def filled(record: dict[str, Any], key: str) -> str:
    """Return the text under a key if it is more than white space; raise UnusableError otherwise."""
    value = text(record[key], key)
    if not value.strip():
        raise UnusableError(f"`{key}` is empty", "empty")
    return value
