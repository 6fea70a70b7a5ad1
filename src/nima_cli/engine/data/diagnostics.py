"""What is wrong with the input, collected so that a user sees all of it at once."""

import re
from collections import Counter
from dataclasses import dataclass

from nima_cli.errors import DataError

# How many kinds of problems an error message lists.
_LISTED_KINDS = 20
# A place in a file, and what may differ between problems of one kind.
_PLACE_IN_FILE = re.compile(r"(?::\d+)*(?: \(\w+ \d+\))?$")
_VARIABLE_WORDS = re.compile(r"keys found: .*|\d+")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that cannot be used.

    Attributes:
        where: `file` or `file:line`, already safe to print (see `printable`).
        what: lower-case, no final stop.
        reason: a short key under which drops are counted, such as `not_utf8`.
        hint: what the user can do.
        figures: what the decision rests on, by name.
    """

    where: str
    what: str
    reason: str
    hint: str | None = None
    figures: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class UnusableError(ValueError):
    """Input that cannot be used, raised where its file is not known.

    Attributes:
        what, reason, hint: as in a `Diagnostic`.
        place: `:line:column` inside the file, or empty.
    """

    def __init__(self, what: str, reason: str = "malformed", place: str = "", hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.reason, self.place, self.hint = what, reason, place, hint

    def at(self, where: str) -> Diagnostic:
        """The diagnostic for the file or record `where`."""
        return Diagnostic(where + self.place, self.what, self.reason, self.hint)


class Diagnostics:
    """Collects diagnostics; with `skip`, bad records are only counted by reason, and never raised."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.counts: Counter[str] = Counter()
        self._first: dict[tuple[str, str, str], Diagnostic] = {}
        self._of_kind: Counter[tuple[str, str, str]] = Counter()

    def add(self, found: Diagnostic) -> None:
        """Add one diagnostic."""
        self.counts[found.reason] += 1
        # Equal for records of one file that have the same thing wrong with them.
        kind = (_PLACE_IN_FILE.sub("", found.where), found.reason, _VARIABLE_WORDS.sub("", found.what))
        if kind in self._first or len(self._first) < _LISTED_KINDS:
            self._first.setdefault(kind, found)
            self._of_kind[kind] += 1

    def raise_if_any(self) -> None:
        """Raise one error for everything collected, unless bad records are skipped.

        Raises:
            DataError: a line for the first problem of each kind in each file, with how many more are like it; then how
                many more there are. The hint is the first one given.
        """
        if self.skip or not self._first:
            return
        lines = [f"{first}{_alike(self._of_kind[kind] - 1)}" for kind, first in self._first.items()]
        more = self.counts.total() - self._of_kind.total()
        if more:
            lines.append(f"and {more} more")
        raise DataError("\n".join(lines), hint=next((one.hint for one in self._first.values() if one.hint), None))


def _alike(count: int) -> str:
    return f" (and {count:,} more record{'s' if count > 1 else ''} like it)" if count else ""


def printable(text: str) -> str:
    """`text` on one line, with control characters, surrogates and other unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
