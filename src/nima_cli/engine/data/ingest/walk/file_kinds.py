"""Which files of a walked folder are documents, by their names; opens only scripts that have no suffix."""

from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.ingest.contents import LINE_SUFFIXES, RECORD_SUFFIXES, TEXT_SUFFIXES
from nima_cli.engine.data.ingest.encoding import GZIP_SUFFIX
from nima_cli.engine.data.ingest.formats.code import LANGUAGES, NAMES
from nima_cli.engine.data.ingest.formats.registry import CONVERTED_SUFFIXES

# Documents that need no suffix; licences are none, being everywhere the same.
_READABLE = frozenset({
    "readme", "changelog", "changes", "history", "news", "install", "installation", "contributing", "hacking", "faq",
    "usage", "tutorial", "manual", "guide", "upgrading", "migration", "design", "architecture", "overview", "notes",
    "releasenotes", "release_notes", "release-notes", "security", "support", "troubleshooting"
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is taken from a walked folder.

    Attributes:
        suffixes: lower-case with the dot; `.gz` may follow them.
        names: lower-case, of files that need no suffix.
        scripts: files without a suffix that begin with `#!` are taken too.
    """

    suffixes: frozenset[str]
    names: frozenset[str] = field(default_factory=frozenset)
    scripts: bool = False

    def takes(self, file: Path) -> bool:
        """Whether a file is a document."""
        contents, last = suffixes(file)
        if contents:
            return contents in self.suffixes
        stem = file.name if last != GZIP_SUFFIX else file.stem
        return stem.lower() in self.names or (self.scripts and not last and _is_script(file))

    def __str__(self) -> str:
        return " ".join(sorted(self.suffixes))


def wanted(config: SourceConfig, *, include_code: bool = False) -> Wanted:
    """What a source takes from a folder.

    Args:
        include_code: source code is taken where documents are.
    """
    if config.format in ("text", "markdown"):
        return Wanted(TEXT_SUFFIXES, _READABLE)
    if config.container in ("json", "jsonl"):
        return Wanted(frozenset({".json"} if config.container == "json" else LINE_SUFFIXES))
    if config.format != "auto":
        return Wanted(RECORD_SUFFIXES)
    documents = TEXT_SUFFIXES | CONVERTED_SUFFIXES | (RECORD_SUFFIXES if config.container == "auto" else frozenset())
    if not include_code:
        return Wanted(documents, _READABLE)
    return Wanted(documents | LANGUAGES.keys(), _READABLE | NAMES.keys(), scripts=True)


def _is_script(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(2) == b"#!"
    except OSError:
        return False


def suffixes(file: Path) -> tuple[str, str]:
    """Suffix of the contents and of the file, lower-case: (`.md`, `.gz`) for `a.md.gz`, twice `.md` for `a.md`."""
    last = file.suffix.lower()
    return (file.with_suffix("").suffix.lower(), last) if last == GZIP_SUFFIX else (last, last)
