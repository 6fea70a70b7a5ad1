"""Which files are documents, and what each holds: by their names, how they are to be read, and their first bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest.encoding import GZIP_SUFFIX
from nima_cli.engine.data.ingest.formats.code import LANGUAGES, NAMES
from nima_cli.engine.data.ingest.formats.registry import (
    CONVERTED_SUFFIXES,
    LIGHTWEIGHT_SUFFIXES,
    Format,
    binary_kind,
    format_of,
    text_kind,
)

MARKDOWN_SUFFIXES = frozenset({".md", ".mdx", ".markdown", ".mkd", ".mdown", ".qmd", ".rmd"})
# Files that can be read as they are written.
TEXT_SUFFIXES = MARKDOWN_SUFFIXES | LIGHTWEIGHT_SUFFIXES | {".rst", ".txt", ".text"}
LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
RECORD_SUFFIXES = LINE_SUFFIXES | TABLE_SUFFIXES | {".json"}
# These say nothing about what is in a file.
_VAGUE_SUFFIXES = frozenset({"", ".txt", ".text"})
# Documents that need no suffix; licences are not among them, being everywhere the same.
_READABLE = frozenset({
    "readme", "changelog", "changes", "history", "news", "install", "installation", "contributing", "hacking", "faq",
    "usage", "tutorial", "manual", "guide", "upgrading", "migration", "design", "architecture", "overview", "notes",
    "releasenotes", "release_notes", "release-notes", "security", "support", "troubleshooting"
})  # fmt: skip
_RAW = "to learn the text of the file itself, use `format: text`"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are to be read.

    Attributes:
        format: as in the configuration; `auto` goes by the suffix.
        container: as in the configuration; `auto` goes by the suffix, and for records else by the first characters.
        encoding: of files that are not UTF-8; None refuses them.
        fields: keys of ours -> those that stand for them in records.
        as_written: lightweight markup (reStructuredText and the like) is text, and not converted.
    """

    format: str = "auto"
    container: str = "auto"
    encoding: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    as_written: bool = False

    def container_of(self, suffix: str) -> str:
        """The container of files whose contents have this suffix, see `FileContents`."""
        if self.format in ("text", "markdown"):
            return "text"
        if self.container != "auto":
            return self.container
        if suffix in RECORD_SUFFIXES:
            return "table" if suffix in TABLE_SUFFIXES else "json" if suffix == ".json" else "jsonl"
        return "text" if self.format == "auto" else "auto"

    def converted_from(self, suffix: str) -> Format | None:
        """The format that files with this suffix are converted from, each as a whole; None if as they are."""
        if self.format != "auto" or self.container_of(suffix) != "text":
            return None
        return format_of(suffix, as_written=self.as_written)


@dataclass(frozen=True, slots=True)
class FileContents:
    """What is in a file.

    Attributes:
        container: `text`, `table`, `json`, `jsonl`, or `auto`: one of the last two, which their first characters tell.
        kind: of the documents, when it is prose.
        format: that it is converted from.
    """

    container: str
    kind: Kind | None = None
    format: Format | None = None


def split_suffix(file: Path) -> tuple[str, bool]:
    """The suffix of the contents, lower-case, and whether `.gz` follows it: (`.md`, True) for `a.md.gz`."""
    if file.suffix.lower() == GZIP_SUFFIX:
        return file.with_suffix("").suffix.lower(), True
    return file.suffix.lower(), False


def contents_of(options: ReadOptions, suffix: str, head: Callable[[], bytes]) -> FileContents:
    """What a file holds.

    Args:
        suffix: of the contents.
        head: gives the first bytes, unpacked; called when they matter.

    Raises:
        UnusableError: it is not to be read this way.
    """
    container, auto = options.container_of(suffix), options.format == "auto"
    if container != "text":
        return FileContents(container)
    if auto and suffix in RECORD_SUFFIXES:
        raise UnusableError("holds records, and is given as text", "not_text", hint=f"{_place_for(suffix)}; {_RAW}")
    begin, form = head(), options.converted_from(suffix)
    binary = binary_kind(begin)
    if binary is not None and (form is None or form.takes in ("text", "named text")):
        form = format_of(binary.suffix) if auto else None
        if form is None and (auto or not binary.readable):
            raise UnusableError(f"is {binary.what}, not text", "binary", hint=_renaming(binary.suffix))
    if form is None and auto and suffix in _VAGUE_SUFFIXES:
        form = format_of(text_kind(begin))
    if form is not None:
        return FileContents("text", form.kind, form)
    markdown = suffix in MARKDOWN_SUFFIXES if auto else options.format == "markdown"
    return FileContents("text", "markdown" if markdown else "text")


def _place_for(suffix: str) -> str:
    if suffix in TABLE_SUFFIXES:
        return "give it as a source of its own: `data.sources: [{path: …}]`"
    return f"give it to `{'json' if suffix == '.json' else 'jsonl'}_files=`"


def _renaming(suffix: str) -> str | None:
    if suffix == ".parquet":
        return "give it as a source of its own, with a name that ends in `.parquet`"
    return f"let its name end in `{suffix}`, and give it without `format`" if suffix else None


@dataclass(frozen=True, slots=True)
class FileFilter:
    """What is taken from a walked folder.

    Attributes:
        suffixes: lower-case with the dot; `.gz` may follow them.
        names: lower-case, of files that need no suffix.
        scripts: files without a suffix that begin with `#!` are taken too.
    """

    suffixes: frozenset[str]
    names: frozenset[str] = frozenset()
    scripts: bool = False

    def takes(self, file: Path) -> bool:
        """Whether a file is a document."""
        suffix, gzipped = split_suffix(file)
        if suffix:
            return suffix in self.suffixes
        stem = file.stem if gzipped else file.name
        return stem.lower() in self.names or (self.scripts and not gzipped and _is_script(file))

    def __str__(self) -> str:
        return " ".join(sorted(self.suffixes))


def file_filter(config: SourceConfig, *, include_code: bool = False) -> FileFilter:
    """What a source takes from a folder.

    Args:
        include_code: source code is taken where documents are.
    """
    if config.format in ("text", "markdown"):
        return FileFilter(TEXT_SUFFIXES, _READABLE)
    if config.container in ("json", "jsonl"):
        return FileFilter(frozenset({".json"} if config.container == "json" else LINE_SUFFIXES))
    if config.format != "auto":
        return FileFilter(RECORD_SUFFIXES)
    documents = TEXT_SUFFIXES | CONVERTED_SUFFIXES | (RECORD_SUFFIXES if config.container == "auto" else frozenset())
    if not include_code:
        return FileFilter(documents, _READABLE)
    return FileFilter(documents | LANGUAGES.keys(), _READABLE | NAMES.keys(), scripts=True)


def _is_script(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(2) == b"#!"
    except OSError:
        return False
