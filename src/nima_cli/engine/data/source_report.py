"""What was read from one source, gathered from the tallies of its pieces; opens nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nima_cli.engine.data.pieces import Tally
from nima_cli.engine.data.problems import Problem, Problems, printable

# What cannot be known by the name of a file, and is nobody's mistake where a folder holds it.
_NO_DOCUMENT = frozenset({"no_document", "needs_extra", "no_text", "minified"})


@dataclass(slots=True)
class SourceReport:
    """What was read from one source.

    Attributes:
        files: files opened; 0 for the embedded source.
        documents: documents yielded.
        bytes: bytes read; for the embedded source UTF-8 bytes of content.
        dropped: records or files not yielded, by reason.
        drops: the same one by one, with their places.
        notes: what a user should know and need not act on.
    """

    name: str
    path: str
    format: str
    weight: float
    files: int = 0
    documents: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    drops: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Gathering:
    """Adds up the tallies of one source, in their order.

    Attributes:
        walked: whether files were merely met in a folder; what holds no records is then noted, not refused.
        named: whether the user named the one file; else what turns out to be no document is noted, not refused.
    """

    report: SourceReport
    walked: bool
    named: bool = True
    _extra_keys: set[str] = field(default_factory=set)
    _empty: list[str] = field(default_factory=list)
    _without_records: list[str] = field(default_factory=list)
    _no_documents: dict[str, list[str]] = field(default_factory=dict)

    def add(self, tally: Tally, problems: Problems) -> None:
        """Take in one tally.

        Args:
            problems: gets what the user must correct; raising it is the caller's part.
        """
        self.report.files += tally.files
        self.report.documents += tally.documents
        self.report.bytes += tally.bytes
        self._extra_keys |= tally.extra_keys
        for problem in tally.drops:
            self._drop(problem, problems)

    def _drop(self, problem: Problem, problems: Problems) -> None:
        """Count a drop; what is empty or was only met on a walk is noted, all else is for the user to correct."""
        self.report.dropped[problem.reason] += 1
        self.report.drops.append(problem)
        if problem.reason == "empty":
            self._empty.append(problem.where)
        elif problem.reason == "no_records" and self.walked:
            self._without_records.append(problem.where)
        elif problem.reason in _NO_DOCUMENT and not self.named:
            why = problem.what if problem.hint is None else f"{problem.what} ({problem.hint})"
            self._no_documents.setdefault(why, []).append(problem.where)
        else:
            problems.add(problem.where, problem.what, problem.reason, hint=problem.hint)

    def finish(self) -> SourceReport:
        """The report with its notes, when all is read."""
        keys = ", ".join(f"`{printable(key)}`" for key in sorted(self._extra_keys)[:10])
        more = " and more" if len(self._extra_keys) > 10 else ""
        self.report.notes += [
            *([f"keys not used: {keys}{more}"] if keys else []),
            *such_as("empty and left out", self._empty),
            *such_as("without records, left out", self._without_records),
            *(note for why, where in self._no_documents.items() for note in such_as(f"left out: {why}", where)),
        ]
        return self.report


def such_as(what: str, where: Sequence[str]) -> list[str]:
    """A note that names the first of several places; none without places."""
    return [f"{what}: {where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}"] if where else []
