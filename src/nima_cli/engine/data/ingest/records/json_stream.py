"""Reads JSON value by value from blocks of text, so that memory follows the largest value; knows nothing of records."""

import re
from collections.abc import Iterator
from typing import Any

from nima_cli.engine.data.ingest.records import strict_json
from nima_cli.engine.data.ingest.records.strict_json import JsonError

# What the window cuts off of an escape, a word or a number's exponent is no longer than this.
_LONGEST_ATOM = 16
_STRUCTURE = re.compile(r'\\.|["\[\]{},]', re.DOTALL)


class TooLargeError(JsonError):
    """A value that is larger than asked for."""


class JsonSyntaxError(Exception):
    """Text that is no JSON, so that nothing after it can be read.

    Attributes:
        what: lower-case, no final stop.
        line, column: where, from 1.
    """

    def __init__(self, what: str, line: int, column: int) -> None:
        super().__init__(what)
        self.what, self.line, self.column = what, line, column


class JsonStream:
    """A place in JSON text that moves on as values and marks are taken."""

    def __init__(self, blocks: Iterator[str], largest: int) -> None:
        """Begin at the first block.

        Args:
            blocks: the text, no block empty.
            largest: characters of a value that is still read.
        """
        self._blocks = blocks
        self._largest = largest
        # The window on the text: what was taken lies before `_at`, and goes when more is read.
        self._text, self._at, self._ended = "", 0, False
        # Lines are counted up to here; `_line_start` may lie before the window, and is then negative.
        self._counted, self._line, self._line_start = 0, 1, 0

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self._at = strict_json.space(self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def take(self, mark: str) -> bool:
        """Move past `mark` if it comes next."""
        found = self.peek() == mark
        self._at += found
        return found

    def place(self) -> tuple[int, int]:
        """Line and column of the next character, both from 1."""
        return self._place(self._at)

    def error(self, what: str) -> JsonSyntaxError:
        """What is wrong with the next character."""
        return JsonSyntaxError(what, *self.place())

    def value(self) -> Any:
        """Move past the value that comes next, and return it; one that is JSON but was refused as its `JsonError`.

        Raises:
            JsonSyntaxError: not JSON.
        """
        self.peek()
        while True:
            try:
                value, end = strict_json.value_or_refusal(self._text, self._at)
            except JsonError as error:
                if self._ended or not self._cut_off(error):
                    raise self._syntax_error(error) from error
            else:
                # A number that ends where the window does may go on, even after `1.` or `1e-`.
                if self._ended or end < len(self._text) - _LONGEST_ATOM:
                    size, self._at = end - self._at, end
                    return value if size <= self._largest else self._too_large()
            if len(self._text) - self._at > self._largest + _LONGEST_ATOM:
                self._pass_over()
                return self._too_large()
            self._more()

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"larger than {self._largest} characters")

    def _cut_off(self, error: JsonError) -> bool:
        """Whether more text could still make JSON of what is in the window."""
        near_the_end = error.position is not None and error.position >= len(self._text) - _LONGEST_ATOM
        return near_the_end or error.what.startswith("unterminated string")

    def _syntax_error(self, error: JsonError) -> JsonSyntaxError:
        assert error.position is not None
        return JsonSyntaxError(error.what, *self._place(error.position))

    def _place(self, position: int) -> tuple[int, int]:
        """Line and column of what is not yet taken."""
        self._line, self._line_start = self._counted_to(self._at)
        self._counted = self._at
        line, start = self._counted_to(position)
        return line, position - start + 1

    def _counted_to(self, position: int) -> tuple[int, int]:
        """The line at `position`, and where it starts."""
        lines = self._text.count("\n", self._counted, position)
        start = self._text.rfind("\n", self._counted, position) + 1 if lines else self._line_start
        return self._line + lines, start

    def _more(self) -> None:
        """Let go of what was taken and double the rest at least, unless the text ends."""
        self.place()
        parts = [self._text[self._at :]]
        self._counted, self._line_start, self._at = self._counted - self._at, self._line_start - self._at, 0
        missing = len(parts[0]) + 1
        while missing > 0 and not self._ended:
            parts.append(next(self._blocks, ""))
            self._ended = not parts[-1]
            missing -= len(parts[-1])
        self._text = "".join(parts)

    def _pass_over(self) -> None:
        """Move past a value that the window cannot hold, by its brackets and quotes alone."""
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
            # A backslash that ends the window belongs to what comes next.
            self._at = len(self._text) - (last < len(self._text) and self._text.endswith("\\"))
            if self._ended:
                return
            self._more()
