"""Strict JSON with places in its errors: no duplicate keys, no NaN, no silent surprises; knows nothing of records."""

import json
import re
from collections.abc import Iterator
from typing import Any

from nima_cli.engine.data.problems import printable

# Python refuses to convert longer numbers by default (CVE-2020-10735); no document needs one.
MAX_DIGITS = 4300
_SPACE = re.compile(r"[ \t\n\r]*")


class JsonError(ValueError):
    """JSON that cannot be used.

    Attributes:
        what: lower-case, no final stop.
        position: character index where reading must stop, or None when the value can be skipped (see `skip`).
    """

    def __init__(self, what: str, position: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.position = position


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise JsonError(f"key `{printable(twice)}` occurs twice")
    return value


def _no_constant(name: str) -> Any:
    raise JsonError(f"`{name}` is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise JsonError(f"a number of {len(digits)} digits is too long")
    return int(digits)


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
_LENIENT = json.JSONDecoder(parse_int=len)


def decode(text: str, start: int = 0) -> tuple[Any, int]:
    """Read one value at `start` (no white space before it) and return it with the index after it.

    Raises:
        JsonError: not JSON, nested too deeply, a duplicate key, NaN or Infinity, or an endless number.
    """
    return _decode(_STRICT, text, start)


def skip(text: str, start: int) -> int:
    """The index after the value at `start`, for a value that is JSON but was refused.

    Raises:
        JsonError: not JSON.
    """
    return _decode(_LENIENT, text, start)[1]


def _decode(decoder: json.JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise JsonError(what.replace("expecting", "expected"), error.pos) from error
    except RecursionError as error:
        raise JsonError("nested too deeply", start) from error


def space(text: str, start: int) -> int:
    """The index after white space at `start`."""
    match = _SPACE.match(text, start)
    assert match is not None
    return match.end()


def place(text: str, position: int) -> tuple[int, int]:
    """Line and column of a character index, both from 1."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def elements(text: str, start: int) -> Iterator[tuple[int, int, Any]]:
    """Yield (index, index after, value) for the elements of the list that opens at `start`.

    A value that is JSON but was refused comes as its `JsonError`.

    Raises:
        JsonError: not JSON; what came before was yielded.
    """
    position = space(text, start + 1)
    if text.startswith("]", position):
        return
    while True:
        try:
            value, end = decode(text, position)
        except JsonError as error:
            if error.position is not None:
                raise
            value, end = error, skip(text, position)
        yield position, end, value
        position = space(text, end)
        if text.startswith("]", position):
            return
        if not text.startswith(",", position):
            raise JsonError("expected `,` or `]` after a record", position)
        position = space(text, position + 1)


def member(text: str, start: int, key: str) -> int:
    """The index of the value of `key` in the object that opens at `start`, which must be valid and have that key."""
    position = space(text, start + 1)
    while True:
        name, end = decode(text, position)
        position = space(text, space(text, end) + 1)
        if name == key:
            return position
        position = space(text, space(text, skip(text, position)) + 1)
