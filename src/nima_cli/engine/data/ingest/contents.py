"""Tells which files are documents, and what each holds, by name, options and first bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest.encoding import GZIP_SUFFIX
from nima_cli.engine.data.ingest.formats import registry
from nima_cli.engine.data.ingest.formats.code import LANGUAGES, NAMES

MARKDOWN_SUFFIXES = frozenset({".md", ".mdx", ".markdown", ".mkd", ".mdown", ".qmd", ".rmd"})
# Files that can be read unconverted.
TEXT_SUFFIXES = MARKDOWN_SUFFIXES | registry.LIGHTWEIGHT_SUFFIXES | {".rst", ".txt", ".text"}
LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
RECORD_SUFFIXES = LINE_SUFFIXES | TABLE_SUFFIXES | {".json"}
# These say nothing about the contents.
_VAGUE_SUFFIXES = frozenset({"", ".txt", ".text"})
# Documents that need no suffix. Licences are left out: they are the same everywhere.
_READABLE = frozenset({
    "readme", "changelog", "changes", "history", "news", "install", "installation", "contributing", "hacking", "faq",
    "usage", "tutorial", "manual", "guide", "upgrading", "migration", "design", "architecture", "overview", "notes",
    "releasenotes", "release_notes", "release-notes", "security", "support", "troubleshooting"
})  # fmt: skip
_RAW = "to learn the text of the file itself, use `format: text`"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read files; `auto` goes by the suffix, then by the first characters."""

    format: str = "auto"
    container: str = "auto"
    encoding: str | None = None  # of files that are not UTF-8; None refuses them
    fields: Mapping[str, str] = field(default_factory=dict)  # our keys -> those of the records
    as_written: bool = False  # do not convert lightweight markup such as reStructuredText


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, or standard input, whose suffix is empty."""

    source: int  # index in the list of sources, for the counts
    label: int  # written into the documents as their source
    name: str  # for messages
    suffix: str  # lower-case, without `.gz`
    gzipped: bool
    options: ReadOptions

    @property
    def container(self) -> str:
        """`text`, `table`, `json`, `jsonl`, or `auto`: the first characters tell which of the last two."""
        if self.options.format in ("text", "markdown"):
            return "text"
        if self.options.container != "auto":
            return self.options.container
        if self.suffix in RECORD_SUFFIXES:
            return "table" if self.suffix in TABLE_SUFFIXES else "json" if self.suffix == ".json" else "jsonl"
        return "text" if self.options.format == "auto" else "auto"

    @property
    def converted_from(self) -> registry.Format | None:
        """The format that such files are converted from; None if they are not converted."""
        if self.options.format != "auto" or self.container != "text":
            return None
        return registry.format_of(self.suffix, as_written=self.options.as_written)


def split_suffix(file: Path) -> tuple[str, bool]:
    """Return the suffix in lower case and whether `.gz` follows: (`.md`, True) for `a.md.gz`."""
    if file.suffix.lower() == GZIP_SUFFIX:
        return file.with_suffix("").suffix.lower(), True
    return file.suffix.lower(), False


def head_of(file: Path, size: int) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError:
        return b""


def prose_in(file: InputFile, begin: bytes) -> tuple[Kind, registry.Format | None]:
    """Return the kind of document in a text file with these first bytes, and the format to convert it from."""
    suffix, auto = file.suffix, file.options.format == "auto"
    if auto and suffix in RECORD_SUFFIXES:
        hint = f"give it to `{'json' if suffix == '.json' else 'jsonl'}_files=`"
        if suffix in TABLE_SUFFIXES:
            hint = "give it as a source of its own: `data.sources: [{path: …}]`"
        raise UnusableError("holds records, and is given as text", "not_text", hint=f"{hint}; {_RAW}")
    form, binary = file.converted_from, registry.binary_kind(begin)
    if binary is not None and (form is None or form.takes in ("text", "named text")):
        form = registry.format_of(binary.suffix) if auto else None
        if form is None and (auto or not binary.readable):
            raise UnusableError(f"is {binary.what}, not text", "binary", hint=_renaming(binary.suffix))
    if form is None and auto and suffix in _VAGUE_SUFFIXES:
        form = registry.format_of(registry.text_kind(begin))
    if form is not None:
        return form.kind, form
    markdown = suffix in MARKDOWN_SUFFIXES if auto else file.options.format == "markdown"
    return "markdown" if markdown else "text", None


def _renaming(suffix: str) -> str | None:
    if suffix == ".parquet":
        return "give it as a source of its own, with a name that ends in `.parquet`"
    return f"let its name end in `{suffix}`, and give it without `format`" if suffix else None


@dataclass(frozen=True, slots=True)
class FileFilter:
    """What to take from a folder: suffixes, also with `.gz`, names without suffix, and scripts that begin with `#!`."""

    suffixes: frozenset[str]
    names: frozenset[str] = frozenset()
    scripts: bool = False

    def takes(self, file: Path) -> bool:
        suffix, gzipped = split_suffix(file)
        if suffix:
            return suffix in self.suffixes
        stem = file.stem if gzipped else file.name
        if stem.lower() in self.names:
            return True
        return self.scripts and not gzipped and head_of(file, 2) == b"#!"

    def __str__(self) -> str:
        return " ".join(sorted(self.suffixes))


def file_filter(config: SourceConfig, *, include_code: bool = False) -> FileFilter:
    """Tell what a source takes from a folder; with `include_code`, source code too."""
    if config.format in ("text", "markdown"):
        return FileFilter(TEXT_SUFFIXES, _READABLE)
    if config.container in ("json", "jsonl"):
        return FileFilter(frozenset({".json"} if config.container == "json" else LINE_SUFFIXES))
    if config.format != "auto":
        return FileFilter(RECORD_SUFFIXES)
    documents = TEXT_SUFFIXES | registry.CONVERTED_SUFFIXES
    if config.container == "auto":
        documents |= RECORD_SUFFIXES
    if not include_code:
        return FileFilter(documents, _READABLE)
    return FileFilter(documents | LANGUAGES.keys(), _READABLE | NAMES.keys(), scripts=True)
