"""Adds up what a preparation read, left out and dropped, for the metadata and the screen; opens nothing."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from nima_cli.config.data_schema import BUILTIN_SOURCE
from nima_cli.engine.data.diagnostics import printable
from nima_cli.engine.data.ingest.sources import STDIN, Source
from nima_cli.engine.data.ingest.walk.walking import SkippedPath, shown_suffix
from nima_cli.engine.data.source_report import SourceReport
from nima_cli.events import Dropped, Event, InputsCounted, Note

# A walk that does not read so large a share of what may be text has most likely missed documents.
MUCH = 0.2
_WORTH_A_WORD = 1000  # bytes
_NAMED = 3
# Sources that are no files, and the reason under which their documents are counted.
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

Result = TypeVar("Result")


def first_drops(events: Generator[Event, None, Result], first: dict[str, str]) -> Generator[Event, None, Result]:
    """The same events; `first` gets the place of the first drop for each reason."""
    try:
        while True:
            event = next(events)
            if isinstance(event, Dropped):
                first.setdefault(event.reason, event.where)
            yield event
    except StopIteration as ended:
        result: Result = ended.value
        return result
    finally:
        events.close()


def left_out_events(sources: Sequence[Source]) -> Iterator[Event]:
    """A `Dropped` event for all that was met and not taken."""
    for source in sources:
        for one in source.skipped:
            yield Dropped(source.name, one.where, one.reason, (("bytes", float(one.size)),) if one.size else ())


def count_inputs(
    sources: Sequence[Source], reports: Sequence[SourceReport], first: Mapping[str, str]
) -> list[InputsCounted]:
    """What was read by suffix, left out by reason and suffix, and dropped by reason, the most first.

    Documents that are in no file of the user's have the reason `embedded` or `stdin`.

    Args:
        first: a place for each reason of a drop.
    """
    read = _grouped(
        (("", shown_suffix(file.path)), file.size, printable(str(file.path)))
        for source in sources
        for file in source.files
    )
    left_out = _grouped(((one.reason, one.suffix), one.size, one.where) for source in sources for one in source.skipped)
    no_files = [
        InputsCounted("read", _NO_FILES[report.path], "", report.documents, report.bytes, report.name)
        for report in reports
        if report.path in _NO_FILES
    ]
    dropped = Counter[str]()
    for report in reports:
        dropped.update(report.dropped)
    drops = sorted(dropped.items(), key=lambda one: (-one[1], one[0]))
    return [
        *no_files,
        *(InputsCounted("read", *row) for row in read),
        *(InputsCounted("left_out", *row) for row in left_out),
        *(InputsCounted("dropped", reason, "", count, 0, first.get(reason, "")) for reason, count in drops),
    ]


def _grouped(things: Iterable[tuple[tuple[str, str], int, str]]) -> list[tuple[str, str, int, int, str]]:
    """(reason, suffix, count, bytes, the largest) for each pair of the first two, the most bytes first."""
    groups: dict[tuple[str, str], tuple[int, int, int, str]] = {}
    for key, size, where in things:
        count, total, largest, example = groups.get(key, (0, 0, -1, ""))
        if (-size, where) < (-largest, example):
            largest, example = size, where
        groups[key] = (count + 1, total + size, largest, example)
    rows = [(*key, count, total, example) for key, (count, total, _, example) in groups.items()]
    return sorted(rows, key=lambda row: (-row[3], -row[2], row[0], row[1]))


def walk_notes(exclude: Sequence[str], sources: Sequence[Source]) -> Iterator[Note]:
    """Warnings: patterns of `data.exclude` that exclude nothing, and sources of whose text much is not read."""
    excluding = any(not pattern.startswith("!") for pattern in exclude)
    if excluding and not any(one.reason == "excluded" for source in sources for one in source.skipped):
        yield Note("warning", "`data.exclude` has left nothing out: are its patterns right?")
    for source in sources:
        unread = [one for one in source.skipped if one.reason == "kind" and one.suffix not in _NO_TEXT]
        size = sum(one.size for one in unread)
        if size >= _WORTH_A_WORD and size >= MUCH * (size + _size(source)):
            share = size / (size + _size(source))
            yield Note("warning", f"{source.name}: {share:.0%} of the bytes are not read: {_suffixes(unread)}")


def _size(source: Source) -> int:
    return sum(file.size for file in source.files)


def _suffixes(unread: Sequence[SkippedPath]) -> str:
    rows = _grouped((("", one.suffix), one.size, one.where) for one in unread)
    named = [f"{count:,} {suffix or 'without suffix'}" for _, suffix, count, _, _ in rows[:_NAMED]]
    return ", ".join(named) + (f" and {len(rows) - _NAMED} more kinds" if len(rows) > _NAMED else "")
