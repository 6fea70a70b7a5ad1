"""Reads the records of one JSON document, a list or an object that holds one; knows nothing of files or encodings."""

import io
from collections.abc import Callable, Iterator
from typing import Any

from nima_cli.engine.data.diagnostics import Problem, printable
from nima_cli.engine.data.ingest.decoded_value import MAX_RECORD_BYTES, TOO_LARGE, UndecodableError, Value, text_blocks
from nima_cli.engine.data.ingest.records import records
from nima_cli.engine.data.ingest.records.json_stream import JsonStream, JsonSyntaxError, TooLargeError
from nima_cli.engine.data.ingest.records.strict_json import JsonError


class _NoRecordsError(JsonError):
    """Good JSON that holds no list of records."""


def read_json(opened: Callable[[], io.BufferedIOBase], name: str) -> Iterator[Value | Problem]:
    """Yield the records of a JSON document: a list, or an object that holds exactly one list.

    Only one record at a time is in memory. An object is read twice, because its end decides whether it holds records.

    Args:
        opened: the stream from its start, each time that it is called.
        name: the file, for messages.
    """

    def begun() -> JsonStream:
        return JsonStream(text_blocks(opened(), name), MAX_RECORD_BYTES)

    try:
        json = begun()
        first = json.peek()
        if first == "[":
            yield from _records(json, name)
            if json.peek():
                raise json.error("more after the end of the list")
        elif first:
            key = _key_of_list(json)
            json = begun()
            _find(json, key)
            yield from _records(json, name)
    except UndecodableError as error:
        yield error.problem
    except JsonSyntaxError as error:
        yield Problem(f"{name}:{error.line}:{error.column}", error.what, "malformed", _hint(error.what))
    except JsonError as error:
        reason = "no_records" if isinstance(error, _NoRecordsError) else "malformed"
        yield Problem(name, error.what, reason, _hint(error.what))


def _hint(what: str) -> str | None:
    if "JSON Lines" in what:
        return "give it to `--jsonl-files`, or end its name in `.jsonl`"
    return "put the record in a list: `[` … `]`" if "one record" in what else None


def _records(json: JsonStream, name: str) -> Iterator[Value | Problem]:
    for number, (line, value) in enumerate(_elements(json), start=1):
        where = f"{name}:{line} (record {number})"
        if isinstance(value, TooLargeError):
            yield Problem(where, TOO_LARGE, "too_large")
        elif isinstance(value, JsonError):
            yield Problem(where, value.what, "malformed")
        else:
            yield Value(where, value)


def _elements(json: JsonStream) -> Iterator[tuple[int, Any]]:
    """(line, value) of every element of the list that comes next; a refused one comes as its `JsonError`."""
    json.take("[")
    if json.take("]"):
        return
    while True:
        json.peek()
        line, _ = json.place()
        yield line, json.value()
        if json.take("]"):
            return
        if not json.take(","):
            raise json.error("expected `,` or `]` after a record")


def _members(json: JsonStream) -> Iterator[str]:
    """The keys of the object that comes next; whoever iterates takes the value of each."""
    json.take("{")
    if json.take("}"):
        return
    seen: set[str] = set()
    while True:
        if json.peek() != '"':
            raise json.error("expected property name enclosed in double quotes")
        key = _accepted(json)
        if key in seen:
            raise JsonError(f"key `{printable(key)}` occurs twice")
        seen.add(key)
        if not json.take(":"):
            raise json.error("expected ':' delimiter")
        yield key
        if json.take("}"):
            return
        if not json.take(","):
            raise json.error("expected ',' delimiter")


def _accepted(json: JsonStream) -> Any:
    value = json.value()
    if isinstance(value, TooLargeError):
        raise _NoRecordsError(f"expected a list of objects, found something else {TOO_LARGE.removeprefix('record ')}")
    if isinstance(value, JsonError):
        raise value
    return value


def _key_of_list(json: JsonStream) -> str:
    """The key of the one list in the object that comes next, which is all there is."""
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
        found = _scalar(_accepted(json))
    line, _ = json.place()
    if after := json.peek():
        lines = after == "{" and json.place()[0] > line
        raise json.error("looks like JSON Lines, not JSON" if lines else "more after the end of the document")
    shape = records.detect(keys)
    if shape is not None:
        raise _NoRecordsError(f"expected a list of objects, found one record of format `{shape.format}`")
    if len(lists) != 1:
        several = f" with {len(lists)} lists" if lists else ""
        raise _NoRecordsError(f"expected a list of objects, found {found}{several}")
    return lists[0]


def _scalar(value: Any) -> str:
    return {str: "text", type(None): "null", bool: "true or false"}.get(type(value), "number")


def _find(json: JsonStream, wanted: str) -> None:
    """Move to the value of a key, before which no other list comes."""
    for key in _members(json):
        if key == wanted:
            return
        json.value()
