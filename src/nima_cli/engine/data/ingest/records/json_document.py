"""Reads records from a JSON document: a list, or an object that holds one list."""

import io
from collections.abc import Callable, Iterator
from typing import Any

from nima_cli.engine.data.diagnostics import Diagnostic, UnusableError, printable
from nima_cli.engine.data.ingest.encoding import MAX_RECORD_BYTES, TOO_LARGE, DecodedValue, text_blocks
from nima_cli.engine.data.ingest.records import records
from nima_cli.engine.data.ingest.records.strict_json import JsonError, JsonStream, type_name


def read_json(opened: Callable[[], io.BufferedIOBase], name: str) -> Iterator[DecodedValue | Diagnostic]:
    """Yield the records one by one; raises UnusableError where it is not JSON, or holds no records.

    An object is opened twice, because its end decides which list holds records.
    """

    def start() -> JsonStream:
        return JsonStream(text_blocks(opened()), MAX_RECORD_BYTES)

    json = start()
    first = json.peek()
    if not first:
        return
    if first != "[":
        wanted = _key_of_list(json)
        json = start()
        for key in _members(json):
            if key == wanted:
                break
            json.value()
    for number, (line, value) in enumerate(_elements(json), start=1):
        where = f"{name}:{line} (record {number})"
        yield value.at(where) if isinstance(value, JsonError) else DecodedValue(where, value)
    if first == "[" and json.peek():
        raise json.error("more after the end of the list")


def _separated(json: JsonStream, brackets: str, expected: str) -> Iterator[None]:
    """Move through the list or object that comes next; the caller takes each item."""
    json.take(brackets[0])
    if json.take(brackets[1]):
        return
    while True:
        yield
        if json.take(brackets[1]):
            return
        if not json.take(","):
            raise json.error(f"expected {expected}")


def _elements(json: JsonStream) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) for the list that comes next; a refused value is a `JsonError`."""
    for _ in _separated(json, "[]", "`,` or `]` after a record"):
        json.peek()
        yield json.line(), json.value()


def _members(json: JsonStream) -> Iterator[str]:
    """Yield the keys of the object that comes next; the caller takes each value."""
    seen: set[str] = set()
    for _ in _separated(json, "{}", "',' delimiter"):
        if json.peek() != '"':
            raise json.error("expected property name enclosed in double quotes")
        key = _accepted(json)
        if key in seen:
            raise JsonError(f"key `{printable(key)}` occurs twice")
        seen.add(key)
        if not json.take(":"):
            raise json.error("expected ':' delimiter")
        yield key


def _accepted(json: JsonStream) -> Any:
    value = json.value()
    if not isinstance(value, JsonError):
        return value
    raise _no_records(f"something else {TOO_LARGE.removeprefix('record ')}") if value.reason == "too_large" else value


def _no_records(found: str, hint: str | None = None) -> UnusableError:
    return UnusableError(f"expected a list of objects, found {found}", "no_records", hint=hint)


def _key_of_list(json: JsonStream) -> str:
    """The key of the only list in the object that is the whole document."""
    found, keys, lists = "object", list[str](), list[str]()
    if json.peek() == "{":
        for key in _members(json):
            keys.append(key)
            if json.peek() == "[":
                lists.append(key)
                for _ in _elements(json):
                    pass
            else:
                _accepted(json)
    else:
        found = type_name(_accepted(json)).removeprefix("a ")
    line = json.line()
    if after := json.peek():
        if after == "{" and json.line() > line:
            hint = "give it to `jsonl_files=`, or end its name in `.jsonl`"
            raise json.error("looks like JSON Lines, not JSON", hint)
        raise json.error("more after the end of the document")
    if shape := records.detect(keys):
        raise _no_records(f"one record of format `{shape.format}`", "put the record in a list: `[` … `]`")
    if len(lists) != 1:
        raise _no_records(f"{found} with {len(lists)} lists" if lists else found)
    return lists[0]
