"""Tidies white space outside code, and counts what cleaning did."""

import re
from dataclasses import dataclass, fields

from nima_cli.engine.data.cleaning.markdown import verbatim_flags
from nima_cli.engine.data.document import Kind, with_line_feeds

_UNTIDY = re.compile(r"[ \t](?:\n|\Z)|\n[ \t]*\n[ \t]*\n|\A[ \t]*\n|\n\Z")
_OPENING_BLANKS = re.compile(r"(?:[ \t]*\n)+(?=[ \t]*[^ \t\n])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Bidirectional marks, zero-width characters and the byte-order mark inside a text.
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@dataclass(slots=True)
class CleaningCounts:
    """What cleaning did, summed over all texts; every function that cleans adds to it."""

    trailing_spaces: int = 0  # lines that lost white space at their end
    blank_lines: int = 0
    # These two are only counted.
    control_characters: int = 0  # besides newline and tab
    invisible_characters: int = 0  # bidirectional and zero-width characters
    normalized: int = 0  # texts that Unicode normalisation changed
    front_matter: int = 0
    comments: int = 0
    # The inner text of these two is kept.
    shortcodes: int = 0  # marks of Hugo, Docusaurus and the like
    tags: int = 0
    links: int = 0
    data_uris: int = 0  # shortened, or removed with the link to them

    def add(self, other: "CleaningCounts") -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def tidy(text: str, kind: Kind, counts: CleaningCounts) -> str:
    """Normalise line ends to LF and, outside code, strip trailing space and keep single blank lines; idempotent.

    In Markdown (`markdown`, `qa`, `chat`), fences, indented code, tables, HTML and front matter stay byte for byte; in
    `text`, indented blocks (reStructuredText literals and directives) and doctest sessions do.
    """
    text = with_line_feeds(text)
    if not text.isprintable():
        counts.control_characters += len(_CONTROL.findall(text))
        counts.invisible_characters += len(_INVISIBLE.findall(text))
    # Nearly every file ends with a line end; that alone does not make parsing necessary.
    body = text.removesuffix("\n")
    if body and not _UNTIDY.search(body):
        return body
    # First of all, because front matter must begin with the first line.
    opening = _OPENING_BLANKS.match(text)
    if opening is not None:
        blanks = opening[0].split("\n")[:-1]
        counts.blank_lines += len(blanks)
        counts.trailing_spaces += sum(map(bool, blanks))
        text = text[opening.end() :]
    lines = text.split("\n")
    return _joined(lines, _text_verbatim(lines) if kind == "text" else verbatim_flags(text, lines), counts)


def _joined(lines: list[str], verbatim: bytearray, counts: CleaningCounts) -> str:
    """Tidy and join `lines`; `verbatim` holds 1 for every line that must stay as it is."""
    kept: list[str] = []
    # Blank lines wait until another line follows, so that a text neither begins nor ends with one.
    blanks = 0
    for line, fixed in zip(lines, verbatim, strict=True):
        if not fixed:
            short = line.rstrip(" \t")
            counts.trailing_spaces += short != line
            if not short:
                blanks += 1
                continue
            line = short
        if blanks and kept:
            kept.append("")
        blanks = 0
        kept.append(line)
    while kept and not kept[-1].strip(" \t"):  # the end of an unclosed fence
        kept.pop()
    # Only blank lines go; what follows the last line end does not count as one.
    counts.blank_lines += len(lines) - len(kept) - (blanks > 0)
    return "\n".join(kept)


def _text_verbatim(lines: list[str]) -> bytearray:
    """Mark indented blocks with the blank lines inside them, and doctest sessions up to the next blank line."""
    verbatim = bytearray(len(lines))
    last_indented = -1
    session = False
    for index, line in enumerate(lines):
        if not line.strip(" \t"):
            session = False
            continue
        session = session or line.startswith(">>> ")
        indented = line[0] in " \t"
        first = last_indented + 1 if indented and last_indented >= 0 else index
        if session or indented:
            verbatim[first : index + 1] = b"\1" * (index + 1 - first)
        last_indented = index if indented else -1
    return verbatim
