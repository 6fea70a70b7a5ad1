"""Counts what a preparation reads, leaves out and drops."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.config.data_schema import BUILTIN_SOURCE
from nima_cli.engine.data.diagnostics import Diagnostic, Diagnostics, printable
from nima_cli.engine.data.ingest.input_splits import ReadCounts
from nima_cli.engine.data.ingest.records.conversations import RecordNotes
from nima_cli.engine.data.ingest.sources import STDIN, Source, such_as
from nima_cli.engine.data.ingest.walk.walking import SkippedPath, shown_suffix
from nima_cli.events import Dropped, Event, InputsCounted, Note

# A walk that leaves so large a share of what may be text unread has most likely missed documents.
MUCH = 0.2
_WORTH_A_WORD = 1000  # bytes
_NAMED = 3
# Reasons that a file's name does not tell: such files in a folder are not the user's mistake.
_NO_DOCUMENT = frozenset({"no_document", "needs_extra", "no_text", "minified"})
_TOLERATED = {"empty": "empty and left out", "no_records": "without records, left out"}
# Sources other than files -> the reason under which their documents are counted.
_NO_FILES = {BUILTIN_SOURCE: "embedded", STDIN: "stdin"}
# Suffixes of files that hold no document, whatever their size.
_NO_TEXT = re.compile(
    r"\.(png|jpe?g|gif|webp|avif|bmp|tiff?|ico|svg|psd|eps|mp[34]|m4[av]|mov|avi|mkv|webm|ogg|wav|flac|woff2?|ttf|otf|eot"
    r"|zip|tar(\.gz)?|tgz|gz|bz2|xz|zst|7z|rar|jar|whl|so|a|o|dll|dylib|exe|bin|class|pyc|wasm|db|sqlite|pt|pth|onnx"
    r"|gguf|safetensors|np[yz]|pkl|map)"
)


@dataclass(slots=True)
class SourceReport:
    """What was read from one source, or from several that count as one.

    Attributes:
        files: opened; 0 for the embedded source.
        bytes: read; for the embedded source UTF-8 bytes of content.
        dropped: records, files and documents left out, by reason.
        first_dropped: where the first was, by reason.
        tolerated: text of a note -> where the drops were that the user need not correct.
        seen: the keys that were met in records.
        notes: from the search for files.
    """

    name: str
    path: str
    format: str
    weight: float
    files: int = 0
    documents: int = 0
    bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, str] = field(default_factory=dict)
    tolerated: dict[str, list[str]] = field(default_factory=dict)
    seen: RecordNotes = field(default_factory=RecordNotes)
    notes: list[str] = field(default_factory=list)

    def add(self, counts: ReadCounts, source: Source, problems: Diagnostics) -> Iterator[Dropped]:
        """Count what a part of `source` held; `problems` gets what the user must correct."""
        self.files += counts.files
        self.documents += counts.documents
        self.bytes += counts.bytes
        self.seen.add(counts.notes)
        tolerated = _tolerated_reasons(source) if counts.drops else ()
        for problem in counts.drops:
            if problem.reason in tolerated:
                hint = f" ({problem.hint})" if problem.hint else ""
                said = _TOLERATED.get(problem.reason) or f"left out: {problem.what}{hint}"
                self.tolerated.setdefault(said, []).append(problem.where)
            else:
                problems.add(problem)
            yield self.drop(problem)

    def drop(self, problem: Diagnostic) -> Dropped:
        """Count something that is left out."""
        self.dropped[problem.reason] += 1
        self.first_dropped.setdefault(problem.reason, problem.where)
        return Dropped(self.name, problem.where, problem.reason, problem.figures)

    def all_notes(self) -> Iterator[str]:
        """What a user should know of this source and need not act on."""
        yield from self.notes
        if self.seen.unused_keys:
            yield f"keys not used: {_listed(self.seen.unused_keys)}"
        if parts := self.seen.other_parts:
            yield f"parts of messages that are no text, left out: {parts.total():,} ({_listed(parts)})"
        for what, where in self.tolerated.items():
            yield from such_as(what, where)


def _tolerated_reasons(source: Source) -> set[str]:
    """The reasons of drops that are noted, not refused: files that a walk met need not hold documents."""
    config = source.config
    reasons = {"empty"}
    if config.format == "auto" and config.container == "auto" and Path(config.path).is_dir():
        reasons.add("no_records")
    if config.path != STDIN and not Path(config.path).is_file():
        reasons |= _NO_DOCUMENT
    return reasons


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(f"`{printable(name)}`" for name in shown[:10]) + (" and more" if len(shown) > 10 else "")


def merged_reports(sources: Sequence[Source]) -> tuple[list[int], list[SourceReport]]:
    """For each source the number of its report, and the reports, still without counts.

    Sources that agree in name, format, container and weight, such as the files of a shell's `docs/*.md`, count as one.
    """
    groups: dict[tuple[object, ...], list[Source]] = {}
    for source in sources:
        config = source.config
        own = source.index if config.name is None else None
        groups.setdefault((own, config.name, config.format, config.container, config.weight), []).append(source)
    numbers, reports = [0] * len(sources), []
    for number, (first, *others) in enumerate(groups.values()):
        config = first.config
        path = config.path + (f" and {len(others)} more" if others else "")
        notes = [note for source in (first, *others) for note in source.notes]
        reports.append(SourceReport(first.name, path, config.format, config.weight, notes=notes))
        for source in (first, *others):
            numbers[source.index] = number
    return numbers, reports


def check_fields(
    sources: Sequence[Source], numbers: list[int], reports: list[SourceReport], problems: Diagnostics
) -> None:
    """Find entries of `fields` whose key no record has; `numbers` is the report of each source."""
    having: dict[tuple[str, str], set[int]] = {}
    for source in sources:
        for entry in (source.config.fields or {}).items():
            having.setdefault(entry, set()).add(numbers[source.index])
    for (ours, key), places in having.items():
        seen = [reports[place].seen for place in places]
        if not any((ours, key) in one.fields for one in seen):
            found = _listed({key for one in seen for key in one.keys}) or "none"
            what = f"`{ours}`: no record has the key `{printable(key)}`; keys found: {found}"
            problems.add(Diagnostic("data.fields", what, "unmatched_field"))


def left_out_events(sources: Sequence[Source]) -> Iterator[Event]:
    """A `Dropped` event for each path that was found and not read."""
    for source in sources:
        for one in source.skipped:
            yield Dropped(source.name, one.where, one.reason, (("bytes", float(one.size)),) if one.size else ())


def count_inputs(sources: Sequence[Source], reports: Sequence[SourceReport]) -> list[InputsCounted]:
    """What was read by suffix, left out by reason and suffix, and dropped by reason, the most first.

    Documents that are in no file have the reason `embedded` or `stdin`.
    """
    read = (
        SkippedPath(printable(str(file.path)), "", file.size, shown_suffix(file.path))
        for source in sources
        for file in source.files
    )
    dropped, first = Counter[str](), dict[str, str]()
    for report in reports:
        dropped.update(report.dropped)
        first = report.first_dropped | first
    return [
        *(
            InputsCounted("read", _NO_FILES[report.path], "", report.documents, report.bytes, report.name)
            for report in reports
            if report.path in _NO_FILES
        ),
        *_grouped("read", read),
        *_grouped("left_out", (path for source in sources for path in source.skipped)),
        *(
            InputsCounted("dropped", reason, "", count, 0, first.get(reason, ""))
            for reason, count in sorted(dropped.items(), key=lambda one: (-one[1], one[0]))
        ),
    ]


def _grouped(outcome: str, paths: Iterable[SkippedPath]) -> list[InputsCounted]:
    """Count paths by reason and suffix, the most bytes first."""
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for path in paths:
        groups.setdefault((path.reason, path.suffix), []).append((-path.size, path.where))
    found = [
        InputsCounted(outcome, *key, len(files), -sum(size for size, _ in files), min(files)[1])
        for key, files in groups.items()
    ]
    return sorted(found, key=lambda group: (-group.bytes, -group.count, group.reason, group.suffix))


def walk_notes(exclude: Sequence[str], sources: Sequence[Source]) -> Iterator[Note]:
    """Warn of a `data.exclude` that excludes nothing, and of sources of which much is not read."""
    excluding = any(not pattern.startswith("!") for pattern in exclude)
    if excluding and not any(one.reason == "excluded" for source in sources for one in source.skipped):
        yield Note("warning", "`data.exclude` has left nothing out: are its patterns right?")
    for source in sources:
        unread = [one for one in source.skipped if one.reason == "kind" and not _NO_TEXT.fullmatch(one.suffix)]
        size = sum(one.size for one in unread)
        if size >= _WORTH_A_WORD and size >= MUCH * (size + source.size):
            groups = _grouped("left_out", unread)
            kinds = [f"{group.count:,} {group.suffix or 'without suffix'}" for group in groups[:_NAMED]]
            more = f" and {len(groups) - _NAMED} more kinds" if len(groups) > _NAMED else ""
            share = size / (size + source.size)
            yield Note("warning", f"{source.name}: {share:.0%} of the bytes are not read: {', '.join(kinds)}{more}")
