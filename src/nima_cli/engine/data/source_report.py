"""What was read from one source, gathered from the tallies of its pieces; opens nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nima_cli.engine.data.diagnostics import Diagnostic, Diagnostics, printable
from nima_cli.engine.data.ingest.input_splits import ReadCounts
from nima_cli.engine.data.ingest.records.record_values import RecordNotes

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
    drops: list[Diagnostic] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Gathering:
    """Adds up the tallies of one source, in their order.

    Attributes:
        walked: whether files were merely met in a folder; what holds no records is then noted, not refused.
        fields: keys of ours -> those that stand for them in the records of this source.
        seen: what was met in the records.
        named: whether the user named the one file; else what turns out to be no document is noted, not refused.
    """

    report: SourceReport
    walked: bool
    fields: Mapping[str, str] = field(default_factory=dict)
    seen: RecordNotes = field(default_factory=RecordNotes)
    named: bool = True
    _empty: list[str] = field(default_factory=list)
    _without_records: list[str] = field(default_factory=list)
    _no_documents: dict[str, list[str]] = field(default_factory=dict)

    def add(self, tally: ReadCounts, problems: Diagnostics) -> None:
        """Take in one tally.

        Args:
            problems: gets what the user must correct; raising it is the caller's part.
        """
        self.report.files += tally.files
        self.report.documents += tally.documents
        self.report.bytes += tally.bytes
        self.seen.add(tally.notes)
        for problem in tally.drops:
            self._drop(problem, problems)

    def _drop(self, problem: Diagnostic, problems: Diagnostics) -> None:
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
            problems.add(problem)

    def finish(self) -> SourceReport:
        """The report with its notes, when all is read."""
        self.report.notes += [
            *_seen_notes(self.seen),
            *such_as("empty and left out", self._empty),
            *such_as("without records, left out", self._without_records),
            *(note for why, where in self._no_documents.items() for note in such_as(f"left out: {why}", where)),
        ]
        return self.report


def _seen_notes(seen: RecordNotes) -> Iterator[str]:
    if seen.unused_keys:
        yield f"keys not used: {_listed(seen.unused_keys)}"
    if parts := seen.other_parts:
        yield f"parts of messages that are no text, left out: {parts.total():,} ({_listed(parts)})"


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(f"`{printable(name)}`" for name in shown[:10]) + (" and more" if len(shown) > 10 else "")


def check_fields(gatherings: Sequence[Gathering], problems: Diagnostics) -> None:
    """Find entries of mappings whose key no record of any source that has them holds."""
    entries = dict.fromkeys(entry for one in gatherings for entry in one.fields.items())
    for ours, key in entries:
        having = [one for one in gatherings if one.fields.get(ours) == key]
        if not any((ours, key) in one.seen.fields for one in having):
            found = _listed(set().union(*(one.seen.keys for one in having))) or "none"
            what = f"`{ours}`: no record has the key `{printable(key)}`; keys found: {found}"
            problems.add(Diagnostic("data.fields", what, "unmatched_field"))


def such_as(what: str, where: Sequence[str]) -> list[str]:
    """A note that names the first of several places; none without places."""
    return [f"{what}: {where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}"] if where else []
