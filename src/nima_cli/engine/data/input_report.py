"""Counts what a preparation reads, leaves out and drops, for the metadata and the screen."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.config.data_schema import BUILTIN_SOURCE
from nima_cli.engine.data.diagnostics import Diagnostic, Diagnostics, printable
from nima_cli.engine.data.ingest.input_splits import ReadCounts
from nima_cli.engine.data.ingest.records.record_values import RecordNotes
from nima_cli.engine.data.ingest.sources import STDIN, Source, such_as
from nima_cli.engine.data.ingest.walk.walking import SkippedPath, shown_suffix
from nima_cli.events import Dropped, Event, InputsCounted, Note

# A walk that does not read so large a share of what may be text has most likely missed documents.
MUCH = 0.2
_WORTH_A_WORD = 1000  # bytes
_NAMED = 3
# What a file's name does not tell, so that it is no mistake of the user's to have such files in a folder.
_NO_DOCUMENT = frozenset({"no_document", "needs_extra", "no_text", "minified"})
# Sources other than files, and the reason under which their documents are counted.
_NO_FILES = {BUILTIN_SOURCE: "embedded", STDIN: "stdin"}
# Files that hold no document, whatever their size.
_NO_TEXT = frozenset(
    f".{suffix}"
    for suffixes in (
        "png jpg jpeg gif webp avif bmp tif tiff ico svg psd eps mp3 mp4 m4a m4v mov avi mkv webm ogg wav flac",
        "woff woff2 ttf otf eot zip tar tar.gz tgz gz bz2 xz zst 7z rar jar whl so a o dll dylib exe bin class pyc",
        "wasm db sqlite pt pth onnx gguf safetensors npy npz pkl map",
    )
    for suffix in suffixes.split(" ")
)


@dataclass(slots=True)
class SourceReport:
    """What was read from one source, or from several that count as one.

    Attributes:
        files: files opened; 0 for the embedded source.
        bytes: bytes read; for the embedded source UTF-8 bytes of content.
        dropped: records, files and documents left out, by reason.
        first_dropped: where the first was, by reason.
        tolerated: where the drops were that the user need not correct, by what a note says of them.
        seen: the keys that were met in records.
        notes: what finding the files brought up.
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

    def add(self, tally: ReadCounts, source: Source, problems: Diagnostics) -> Iterator[Dropped]:
        """Count what a part of `source` held; `problems` gets what the user must correct."""
        self.files += tally.files
        self.documents += tally.documents
        self.bytes += tally.bytes
        self.seen.add(tally.notes)
        tolerated = tolerated_reasons(source) if tally.drops else ()
        for problem in tally.drops:
            if problem.reason in tolerated:
                self.tolerated.setdefault(_tolerated_as(problem), []).append(problem.where)
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


def tolerated_reasons(source: Source) -> Collection[str]:
    """The reasons of drops that are noted and not refused: files that a walk merely met need not hold documents."""
    config = source.config
    reasons = {"empty"}
    if config.format == "auto" and config.container == "auto" and Path(config.path).is_dir():
        reasons.add("no_records")
    if config.path != STDIN and not Path(config.path).is_file():
        reasons |= _NO_DOCUMENT
    return reasons


def _tolerated_as(problem: Diagnostic) -> str:
    said = {"empty": "empty and left out", "no_records": "without records, left out"}.get(problem.reason)
    return said or f"left out: {problem.what}" + (f" ({problem.hint})" if problem.hint else "")


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(f"`{printable(name)}`" for name in shown[:10]) + (" and more" if len(shown) > 10 else "")


def merged_reports(sources: Sequence[Source]) -> tuple[list[int], list[SourceReport]]:
    """For each source the number of its report, and the reports, still without counts.

    Sources of one name, format, container and weight, such as the files that a shell made out of `docs/*.md`, count as
    one.
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
    sources: Sequence[Source], numbers: Sequence[int], reports: Sequence[SourceReport], problems: Diagnostics
) -> None:
    """Find entries of mappings whose key no record of any source that has them holds.

    Args:
        numbers: the report of each source.
    """
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
    """A `Dropped` event for all that was met and not taken."""
    for source in sources:
        for one in source.skipped:
            yield Dropped(source.name, one.where, one.reason, (("bytes", float(one.size)),) if one.size else ())


def count_inputs(sources: Sequence[Source], reports: Sequence[SourceReport]) -> list[InputsCounted]:
    """What was read by suffix, left out by reason and suffix, and dropped by reason, the most first.

    Documents that are in no file of the user's have the reason `embedded` or `stdin`.
    """
    read = _grouped(
        ("", shown_suffix(file.path), file.size, printable(str(file.path)))
        for source in sources
        for file in source.files
    )
    left_out = _grouped(_left_out_fields(source.skipped for source in sources))
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
        *(InputsCounted("read", *group) for group in read),
        *(InputsCounted("left_out", *group) for group in left_out),
        *(
            InputsCounted("dropped", reason, "", count, 0, first.get(reason, ""))
            for reason, count in sorted(dropped.items(), key=lambda one: (-one[1], one[0]))
        ),
    ]


def _left_out_fields(left_out: Iterable[Iterable[SkippedPath]]) -> Iterator[tuple[str, str, int, str]]:
    return ((one.reason, one.suffix, one.size, one.where) for of_source in left_out for one in of_source)


def _grouped(things: Iterable[tuple[str, str, int, str]]) -> list[tuple[str, str, int, int, str]]:
    """(reason, suffix, count, bytes, the largest) of (reason, suffix, bytes, where), the most bytes first."""
    groups: dict[tuple[str, str], tuple[int, int, tuple[int, str]]] = {}
    for reason, suffix, size, where in things:
        count, total, largest = groups.get((reason, suffix), (0, 0, (1, "")))
        groups[reason, suffix] = count + 1, total + size, min(largest, (-size, where))
    found = [(*key, count, total, where) for key, (count, total, (_, where)) in groups.items()]
    return sorted(found, key=lambda group: (-group[3], -group[2], group[0], group[1]))


def walk_notes(exclude: Sequence[str], sources: Sequence[Source]) -> Iterator[Note]:
    """Warnings: patterns of `data.exclude` that exclude nothing, and sources of whose text much is not read."""
    excluding = any(not pattern.startswith("!") for pattern in exclude)
    if excluding and not any(one.reason == "excluded" for source in sources for one in source.skipped):
        yield Note("warning", "`data.exclude` has left nothing out: are its patterns right?")
    for source in sources:
        unread = [one for one in source.skipped if one.reason == "kind" and one.suffix not in _NO_TEXT]
        size = sum(one.size for one in unread)
        if size >= _WORTH_A_WORD and size >= MUCH * (size + source.size):
            groups = _grouped(_left_out_fields([unread]))
            kinds = [f"{count:,} {suffix or 'without suffix'}" for _, suffix, count, *_ in groups[:_NAMED]]
            more = f" and {len(groups) - _NAMED} more kinds" if len(groups) > _NAMED else ""
            share = size / (size + source.size)
            yield Note("warning", f"{source.name}: {share:.0%} of the bytes are not read: {', '.join(kinds)}{more}")
