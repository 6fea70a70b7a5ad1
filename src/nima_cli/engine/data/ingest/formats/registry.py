"""Which formats there are, by the suffixes of their files, and what converts each; loads converters when needed."""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nima_cli.engine.data.document import Kind
from nima_cli.engine.data.ingest.formats.code import LANGUAGES

_HERE = "nima_cli.engine.data.ingest.formats"


@dataclass(frozen=True, slots=True)
class Format:
    """A format of documents that are converted.

    Attributes:
        name: for messages.
        suffixes: lower-case with the dot.
        converter: `module:function` in this package.
        takes: what the function is given: the text, the text and the name of the file, the bytes, or an open file.
        kind: of the documents that it makes.
        lightweight: markup that is read as it is written, too.
        sign: what a file holds near its start; others with such a suffix are of another kind.
    """

    name: str
    suffixes: frozenset[str]
    converter: str
    takes: Literal["text", "named text", "bytes", "stream"] = "text"
    kind: Kind = "markdown"
    lightweight: bool = False
    sign: re.Pattern[str] | None = None

    def function(self) -> Callable[..., str]:
        """What converts it."""
        module, _, name = self.converter.partition(":")
        function: Any = getattr(importlib.import_module(f"{_HERE}.{module}"), name)
        return function  # type: ignore[no-any-return]


# Any file may end in a number; a manual page begins with requests of roff.
MAN = Format(
    "man page",
    frozenset({*(f".{section}" for section in range(1, 9)), ".man"}),
    "roff.man:man_to_markdown",
    sign=re.compile(r"^[.'][ \t]*(?:(?:TH|Dd|Dt|SH|Sh|so)\b|\\\")", re.MULTILINE),
)
HTML = Format("HTML", frozenset({".html", ".htm", ".xhtml"}), "html.bytes:html_bytes_to_markdown", "bytes")
CODE = Format("source code", frozenset(LANGUAGES), "code:code_to_markdown", "named text")
FORMATS = (
    HTML,
    Format("notebook", frozenset({".ipynb"}), "notebook:notebook_to_markdown"),
    Format("PDF", frozenset({".pdf"}), "pdf:pdf_to_text", "stream", kind="text"),
    Format("DOCX", frozenset({".docx"}), "docx:docx_to_markdown", "bytes"),
    Format("reStructuredText", frozenset({".rst"}), "rst.rst:rst_to_markdown", lightweight=True),
    Format("AsciiDoc", frozenset({".adoc", ".asciidoc"}), "asciidoc.asciidoc:asciidoc_to_markdown", lightweight=True),
    Format("Org", frozenset({".org"}), "org:org_to_markdown", lightweight=True),
    MAN,
    CODE,
)
_BY_SUFFIX = {suffix: one for one in FORMATS for suffix in one.suffixes}
# Converted wherever they are met in a folder; code only when it is asked for.
CONVERTED_SUFFIXES = frozenset(_BY_SUFFIX) - CODE.suffixes
LIGHTWEIGHT_SUFFIXES = frozenset(suffix for suffix, one in _BY_SUFFIX.items() if one.lightweight)


def format_of(suffix: str, *, as_written: bool = False) -> Format | None:
    """The format of files with this suffix; None for plain text, Markdown and records.

    Args:
        as_written: lightweight markup is not converted.
    """
    found = _BY_SUFFIX.get(suffix)
    return None if found is not None and found.lightweight and as_written else found
