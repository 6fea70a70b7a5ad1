"""Which files of a walked folder are documents, by their names; opens nothing."""

from dataclasses import dataclass
from pathlib import Path

from nima_cli.config.data_schema import SourceConfig
from nima_cli.engine.data.encoding import GZIP_SUFFIX
from nima_cli.engine.data.readers import LINE_SUFFIXES, RECORD_SUFFIXES, TEXT_SUFFIXES


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is taken from a walked folder.

    Attributes:
        suffixes: lower-case with the dot; `.gz` may follow them.
    """

    suffixes: frozenset[str]

    def takes(self, file: Path) -> bool:
        """Whether a file with this name is a document."""
        return suffixes(file)[0] in self.suffixes

    def __str__(self) -> str:
        return " ".join(sorted(self.suffixes))


def wanted(config: SourceConfig) -> Wanted:
    """What a source takes from a folder."""
    if config.container == "text" or config.format in ("text", "markdown"):
        return Wanted(TEXT_SUFFIXES)
    if config.container != "auto":
        return Wanted(frozenset({".json"} if config.container == "json" else LINE_SUFFIXES))
    return Wanted(TEXT_SUFFIXES | RECORD_SUFFIXES if config.format == "auto" else RECORD_SUFFIXES)


def suffixes(file: Path) -> tuple[str, str]:
    """Suffix of the contents and of the file, lower-case: (`.md`, `.gz`) for `a.md.gz`, twice `.md` for `a.md`."""
    last = file.suffix.lower()
    return (file.with_suffix("").suffix.lower(), last) if last == GZIP_SUFFIX else (last, last)
