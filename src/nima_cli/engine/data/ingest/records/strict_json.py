"""Strict JSON with places in its errors: no duplicate keys, no NaN, no silent surprises; knows nothing of records."""

import contextlib
import json
import re
from typing import Any

from nima_cli.engine.data.diagnostics import printable

# Python refuses to convert longer numbers by default (CVE-2020-10735); no document needs one.
MAX_DIGITS = 4300
_SPACE = re.compile(r"[ \t\n\r]*")


class JsonError(ValueError):
    """JSON that cannot be used.

    Attributes:
        what: lower-case, no final stop.
        position: character index where reading must stop, or None when the value is JSON and was refused.
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
    if len(digits) <= MAX_DIGITS:
        with contextlib.suppress(ValueError):  # the process may have a lower limit
            return int(digits)
    raise JsonError(f"a number of {len(digits)} digits is too long")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer)
_LENIENT = json.JSONDecoder(parse_int=len)


def decode(text: str, start: int = 0) -> tuple[Any, int]:
    """Read one value at `start` (no white space before it) and return it with the index after it.

    Raises:
        JsonError: not JSON, nested too deeply, a duplicate key, NaN or Infinity, or an endless number.
    """
    return _decode(_STRICT, text, start)


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


def value_or_refusal(text: str, start: int) -> tuple[Any, int]:
    """As `decode`, but a value that is JSON and was refused comes as its `JsonError`.

    Raises:
        JsonError: not JSON, or nested too deeply.
    """
    try:
        return decode(text, start)
    except JsonError as error:
        if error.position is not None:
            raise
        return error, _decode(_LENIENT, text, start)[1]
