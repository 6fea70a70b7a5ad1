"""Which files of a walked folder are documents, by their names; opens only scripts that have no suffix."""

from dataclasses import dataclass
from pathlib import Path

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.ingest.contents import LINE_SUFFIXES, RECORD_SUFFIXES, TEXT_SUFFIXES, split_suffix
from nima_cli.engine.data.ingest.formats.code import LANGUAGES, NAMES
from nima_cli.engine.data.ingest.formats.registry import CONVERTED_SUFFIXES

# Documents that need no suffix; licences are not among them, being everywhere the same.
_READABLE = frozenset({
    "readme", "changelog", "changes", "history", "news", "install", "installation", "contributing", "hacking", "faq",
    "usage", "tutorial", "manual", "guide", "upgrading", "migration", "design", "architecture", "overview", "notes",
    "releasenotes", "release_notes", "release-notes", "security", "support", "troubleshooting"
})  # fmt: skip


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
