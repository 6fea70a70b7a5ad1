"""What is wrong with the input, collected so that a user sees all of it at once; knows nothing of formats or files."""

from collections import Counter
from dataclasses import dataclass

from nima_cli.errors import DataError


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


class Problems:
    """Collects problems until somebody asks; with `skip`, only counts them by reason.

    Args:
        limit: how many problems an error message lists.
        skip: bad records are dropped and counted instead of raised.
    """

    def __init__(self, limit: int = 20, *, skip: bool = False) -> None:
        self.limit = limit
        self.skip = skip
        self.counts: Counter[str] = Counter()
        self._first: list[Problem] = []

    def add(self, where: str, what: str, reason: str, *, hint: str | None = None) -> None:
        """Take note of one problem."""
        self.counts[reason] += 1
        if len(self._first) < self.limit:
            self._first.append(Problem(where, what, reason, hint))

    def raise_if_any(self) -> None:
        """Raise one error for everything collected, unless problems are skipped.

        Raises:
            DataError: one line per problem, at most `limit`, then how many more; the hint is the first one given.
        """
        if self.skip or not self._first:
            return
        lines = [str(problem) for problem in self._first]
        more = self.counts.total() - len(lines)
        if more:
            lines.append(f"and {more} more")
        raise DataError("\n".join(lines), hint=next((p.hint for p in self._first if p.hint), None))


def printable(text: str) -> str:
    """`text` on one line, with control characters, surrogates and other unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
