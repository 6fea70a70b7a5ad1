"""Tidies white space outside code and leaves code byte for byte."""

import re
from dataclasses import dataclass, fields

from nima_cli.engine.data.cleaning.markdown import verbatim_lines
from nima_cli.engine.data.document import Kind, with_line_feeds

_UNTIDY = re.compile(r"[ \t](?:\n|\Z)|\n[ \t]*\n[ \t]*\n|\A[ \t]*\n|\n\Z")
_OPENING_BLANKS = re.compile(r"(?:[ \t]*\n)+(?=[ \t]*[^ \t\n])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Bidirectional marks, zero-width characters and the byte-order mark inside a text.
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@dataclass(slots=True)
class CleaningCounts:
    """What cleaning did, summed over all texts; every function that cleans adds to it.

    Attributes:
        trailing_spaces: lines that lost white space at their end.
        blank_lines: blank lines removed.
        control_characters: control characters found (and kept) besides newline and tab.
        invisible_characters: bidirectional and zero-width characters found (and kept).
        normalized: texts that Unicode normalisation changed.
        front_matter: texts whose front matter was taken off.
        comments: HTML comments removed.
        shortcodes: Hugo and Docusaurus marks removed, whose inner text was kept.
        tags: layout tags removed, whose inner text was kept.
        links: link targets removed.
        data_uris: data URIs whose contents were taken out, or that went with the link to them.
    """

    trailing_spaces: int = 0
    blank_lines: int = 0
    control_characters: int = 0
    invisible_characters: int = 0
    normalized: int = 0
    front_matter: int = 0
    comments: int = 0
    shortcodes: int = 0
    tags: int = 0
    links: int = 0
    data_uris: int = 0

    def add(self, other: "CleaningCounts") -> None:
        """Add what was counted elsewhere."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def tidy(text: str, kind: Kind, counts: CleaningCounts) -> str:
    """Normalise line ends to LF and, outside code, end lines at their last word and keep single blank lines.

    In Markdown (`markdown`, `qa`, `chat`), fences, indented code, tables, HTML and front matter stay byte for byte; in
    `text`, indented blocks (reStructuredText literals and directives) and doctest sessions do. Blank lines before and
    after the text go. Cleaning twice changes nothing more.
    """
    text = with_line_feeds(text)
    if not text.isprintable():
        counts.control_characters += len(_CONTROL.findall(text))
        counts.invisible_characters += len(_INVISIBLE.findall(text))
    # Nearly every file ends with a line end; that alone does not make parsing necessary.
    body = text.removesuffix("\n")
    if body and not _UNTIDY.search(body):
        return body
    # Before the text is read: front matter is what begins with its first line, and that is the one after these.
    opening = _OPENING_BLANKS.match(text)
    if opening is not None:
        blanks = opening[0].split("\n")[:-1]
        counts.blank_lines += len(blanks)
        counts.trailing_spaces += sum(map(bool, blanks))
        text = text[opening.end() :]
    lines = text.split("\n")
    verbatim = _text_verbatim(lines) if kind == "text" else _markdown_verbatim(text, lines)
    return _joined(lines, verbatim, counts)


def _joined(lines: list[str], verbatim: bytearray, counts: CleaningCounts) -> str:
    """Join `lines` again; `verbatim` holds 1 for every line that must stay as it is."""
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


def _markdown_verbatim(text: str, lines: list[str]) -> bytearray:
    verbatim = bytearray(len(lines))
    for start, end, _ in verbatim_lines(text, lines):
        verbatim[start:end] = b"\1" * (end - start)
    return verbatim


def _text_verbatim(lines: list[str]) -> bytearray:
    """Indented blocks with the blank lines inside them, and doctest sessions up to the next blank line."""
    verbatim = bytearray(len(lines))
    last_indented = -1
    session = False
    for index, line in enumerate(lines):
        blank = not line.strip(" \t")
        session = not blank and (session or line.startswith(">>> "))
        if session:
            verbatim[index] = 1
        if blank:
            continue
        if line[0] in " \t":
            verbatim[index] = 1
            if last_indented >= 0:
                verbatim[last_indented + 1 : index] = b"\1" * (index - last_indented - 1)
            last_indented = index
        else:
            last_indented = -1
    return verbatim
