"""What is wrong with the input, collected so that a user sees all of it at once; knows nothing of formats or files."""

import re
from collections import Counter
from dataclasses import dataclass

from nima_cli.errors import DataError

# What a place says beyond the file, and what may differ between problems of one kind.
_PLACE_IN_FILE = re.compile(r"(?::\d+)*(?: \(\w+ \d+\))?$")
_OWN_WORDS = re.compile(r"keys found: .*|\d+")


@dataclass(frozen=True, slots=True)
class Problem:
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

    @property
    def kind(self) -> tuple[str, str, str]:
        """Equal for records of one file that have the same thing wrong with them."""
        return _PLACE_IN_FILE.sub("", self.where), self.reason, _OWN_WORDS.sub("", self.what)


class Problems:
    """Collects problems until somebody asks; with `skip`, only counts them by reason.

    Args:
        limit: how many kinds of problems an error message lists.
        skip: bad records are dropped and counted instead of raised.
    """

    def __init__(self, limit: int = 20, *, skip: bool = False) -> None:
        self.limit = limit
        self.skip = skip
        self.counts: Counter[str] = Counter()
        self._first: dict[tuple[str, str, str], Problem] = {}
        self._of_kind: Counter[tuple[str, str, str]] = Counter()

    def add(self, where: str, what: str, reason: str, *, hint: str | None = None) -> None:
        """Take note of one problem."""
        self.counts[reason] += 1
        problem = Problem(where, what, reason, hint)
        kind = problem.kind
        if kind in self._first or len(self._first) < self.limit:
            self._first.setdefault(kind, problem)
            self._of_kind[kind] += 1

    def raise_if_any(self) -> None:
        """Raise one error for everything collected, unless problems are skipped.

        Raises:
            DataError: a line for the first problem of each kind in each file, with how many more are like it, at most
                `limit`; then how many more there are. The hint is the first one given.
        """
        if self.skip or not self._first:
            return
        lines = [f"{problem}{_alike(self._of_kind[kind] - 1)}" for kind, problem in self._first.items()]
        more = self.counts.total() - self._of_kind.total()
        if more:
            lines.append(f"and {more} more")
        raise DataError("\n".join(lines), hint=next((p.hint for p in self._first.values() if p.hint), None))


def _alike(count: int) -> str:
    return f" (and {count:,} more record{'s' if count > 1 else ''} like it)" if count else ""


def printable(text: str) -> str:
    """`text` on one line, with control characters, surrogates and other unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
