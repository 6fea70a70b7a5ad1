"""Parses strict JSON (no duplicate keys, no NaN), at once or value by value from a stream, and checks texts in it."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from nima_cli.engine.data.diagnostics import UnusableError, printable
from nima_cli.engine.data.ingest.encoding import TOO_LARGE

# Python refuses to convert longer numbers by default (CVE-2020-10735); no document needs one.
MAX_DIGITS = 4300
_SPACE = re.compile(r"[ \t\n\r]*")
# No escape, literal or exponent that the end of the window may cut in two is longer.
_LONGEST_ATOM = 16
_STRUCTURE = re.compile(r'\\.|["\[\]{},]', re.DOTALL)
_TYPE_NAMES = {
    bool: "true or false", dict: "an object", list: "a list", str: "text", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip


class JsonError(UnusableError):
    """JSON that cannot be used; `position` is the index where reading must stop, or None if only the value is bad."""

    def __init__(self, what: str, position: int | None = None, reason: str = "malformed") -> None:
        super().__init__(what, reason)
        self.position = position


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        times = Counter(key for key, _ in pairs)
        twice = next(key for key, count in times.items() if count > 1)
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


def _decode(decoder: json.JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise JsonError(what.replace("expecting", "expected"), error.pos) from error
    except RecursionError as error:
        raise JsonError("nested too deeply", start) from error


def _after_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    assert match is not None
    return match.end()


def loads(text: str) -> Any:
    """Parse a text that holds one value; raise JsonError for anything else."""
    value, end = _decode(_STRICT, text, _after_space(text, 0))
    end = _after_space(text, end)
    if end != len(text):
        raise JsonError("more than one value on a line", end)
    return value


class JsonStream:
    """Takes values and marks from JSON text one after the other; memory follows the largest value."""

    def __init__(self, blocks: Iterator[str], largest: int) -> None:
        """Begin at the first of `blocks`, none of them empty; a value of over `largest` characters is refused."""
        self._blocks, self._largest = blocks, largest
        # A window on the text; what lies before `_at` was taken, and goes when more is read.
        self._text, self._at, self._ended = "", 0, False
        # Lines are counted up to here; `_line_start` may lie before the window, and is then negative.
        self._counted, self._line, self._line_start = 0, 1, 0

    def peek(self) -> str:
        """Return the next character after white space; empty at the end."""
        while True:
            self._at = _after_space(self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def take(self, mark: str) -> bool:
        found = self.peek() == mark
        self._at += found
        return found

    def line(self) -> int:
        """Return the line of the next character, from 1."""
        if lines := self._text.count("\n", self._counted, self._at):
            self._line += lines
            self._line_start = self._text.rfind("\n", self._counted, self._at) + 1
        self._counted = self._at
        return self._line

    def error(self, what: str, hint: str | None = None) -> UnusableError:
        return UnusableError(what, place=f":{self.line()}:{self._at - self._line_start + 1}", hint=hint)

    def value(self) -> Any:
        """Take the next value; valid JSON that we refuse comes as its `JsonError`, what is not JSON is raised."""
        self.peek()
        while True:
            text, start = self._text, self._at
            near_the_end = len(text) - _LONGEST_ATOM
            try:
                value, end = _value_or_refusal(text, start)
                # A number at the end of the window may go on, even after `1.` or `1e-`.
                if self._ended or end < near_the_end:
                    self._at = end
                    return value if end - start <= self._largest else JsonError(TOO_LARGE, reason="too_large")
            except JsonError as error:
                position = error.position or start
                cut_off = position >= near_the_end or error.what.startswith("unterminated string")
                if self._ended or not cut_off:
                    self._at = position
                    raise self.error(error.what) from error
            if len(text) - start > self._largest + _LONGEST_ATOM:
                self._pass_over()
                return JsonError(TOO_LARGE, reason="too_large")
            self._more()

    def _more(self) -> None:
        """Drop what was taken, and at least double the rest unless the text ends."""
        self.line()
        parts = [self._text[self._at :]]
        self._line_start, self._counted, self._at = self._line_start - self._at, 0, 0
        missing = len(parts[0]) + 1
        while missing > 0 and not self._ended:
            parts.append(next(self._blocks, ""))
            self._ended = not parts[-1]
            missing -= len(parts[-1])
        self._text = "".join(parts)

    def _pass_over(self) -> None:
        """Skip a value that the window cannot hold, by its brackets and quotes alone."""
        depth, quoted = 0, False
        while True:
            last = self._at
            for match in _STRUCTURE.finditer(self._text, self._at):
                mark, last = match[0], match.end()
                if mark == '"':
                    quoted = not quoted
                elif quoted or mark[0] == "\\":
                    continue
                elif depth == 0 and mark in ",]}":
                    self._at = match.start()
                    return
                else:
                    depth += (mark in "[{") - (mark in "]}")
                if depth == 0 and not quoted:
                    self._at = last
                    return
            # A backslash at the end of the window belongs to what comes next.
            self._at = len(self._text) - (last < len(self._text) and self._text.endswith("\\"))
            if self._ended:
                return
            self._more()


def _value_or_refusal(text: str, start: int) -> tuple[Any, int]:
    """The value at `start`, or the error if we refuse it, and the index after it; raises JsonError if not JSON."""
    try:
        return _decode(_STRICT, text, start)
    except JsonError as error:
        if error.position is not None:
            raise
        return error, _decode(_LENIENT, text, start)[1]


def type_name(value: Any) -> str:
    return _TYPE_NAMES[type(value)]


def keys_found(record: dict[str, Any]) -> str:
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
