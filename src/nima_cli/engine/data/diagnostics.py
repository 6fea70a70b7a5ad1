"""Collects what is wrong with the input, so that a user sees all of it at once."""

import re
from collections import Counter
from dataclasses import dataclass

from nima_cli.errors import DataError

_LISTED_KINDS = 20
# What may differ between problems of one kind: their places, and some words of the message.
_PLACE_IN_FILE = re.compile(r"(?::\d+)*(?: \(\w+ \d+\))?$")
_VARIABLE_WORDS = re.compile(r"keys found: .*|\d+")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that cannot be used.

    Attributes:
        where: `file` or `file:line`, already safe to print (see `printable`).
        what: lower-case, no final stop.
        reason: a key under which drops are counted, such as `not_utf8`.
        figures: the measurements behind the decision, by name.
    """

    where: str
    what: str
    reason: str
    hint: str | None = None
    figures: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class UnusableError(ValueError):
    """Input that cannot be used, raised where its file is not known; `place` is `:line:column`, or empty."""

    def __init__(self, what: str, reason: str = "malformed", place: str = "", hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.reason, self.place, self.hint = what, reason, place, hint

    def at(self, where: str) -> Diagnostic:
        """Make the diagnostic for the file or record `where`."""
        return Diagnostic(where + self.place, self.what, self.reason, self.hint)


class Diagnostics:
    """Collects diagnostics; with `skip`, only counts them by reason and never raises."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.counts: Counter[str] = Counter()
        self._first: dict[tuple[str, str, str], Diagnostic] = {}
        self._of_kind: Counter[tuple[str, str, str]] = Counter()

    def add(self, found: Diagnostic) -> None:
        """Add one diagnostic."""
        self.counts[found.reason] += 1
        kind = (_PLACE_IN_FILE.sub("", found.where), found.reason, _VARIABLE_WORDS.sub("", found.what))
        if kind in self._first or len(self._first) < _LISTED_KINDS:
            self._first.setdefault(kind, found)
            self._of_kind[kind] += 1

    def raise_if_any(self) -> None:
        """Raise one DataError for everything, with a line for each kind of problem in each file, unless skipping."""
        if self.skip or not self._first:
            return
        lines = []
        for kind, first in self._first.items():
            count = self._of_kind[kind] - 1
            alike = f" (and {count:,} more record{'s' if count > 1 else ''} like it)" if count else ""
            lines.append(f"{first}{alike}")
        more = self.counts.total() - self._of_kind.total()
        if more:
            lines.append(f"and {more} more")
        raise DataError("\n".join(lines), hint=next((one.hint for one in self._first.values() if one.hint), None))


def printable(text: str) -> str:
    """Escape line ends, control characters, surrogates and whatever else cannot be printed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
