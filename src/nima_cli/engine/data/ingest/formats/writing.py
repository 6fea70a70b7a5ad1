"""How the converters write Markdown: one form for each kind of block."""

import re
from collections.abc import Iterable, Sequence

_TICKS = re.compile(r"`{3,}")
_RUNS = re.compile(r"`+")
# In an address without angle brackets.
_UNFIT = re.compile(r"[\s()]")
# What a block begins with that is no plain paragraph: nothing can be written before it on its line.
_NO_PARAGRAPH = re.compile(r"```|>|#{1,6} |[-*+] |\d{1,9}[.)] |\||\$\$")


def dedented(lines: Sequence[str]) -> list[str]:
    """`lines` without the blank ones at both ends and without the indentation they share."""
    start, end = 0, len(lines)
    while start < end and not lines[start].strip():
        start += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    filled = [line for line in lines[start:end] if line.strip()]
    if not filled:
        return []
    # In the order of text, the line with the smallest indentation is the last or, with a control character, the first.
    first, last = min(filled), max(filled)
    margin = min(len(first) - len(first.lstrip(" ")), len(last) - len(last.lstrip(" ")))
    return [line[margin:] if line.strip() else "" for line in lines[start:end]]


def code_block(code: str, language: str) -> str:
    """`code`, which neither begins nor ends with a line end, in a fence that is longer than any inside of it."""
    ticks = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(code))])
    return f"{ticks}{language}\n{code}\n{ticks}"


def fence(code: Sequence[str], language: str = "") -> list[str]:
    """The lines of a code block, without the indentation that they share; empty for no code."""
    lines = dedented(code)
    return code_block("\n".join(lines), language).split("\n") if lines else []


def code_span(text: str) -> str:
    """`text` as a code span on one line, with as many marks as it takes."""
    text = text.replace("\n", " ")
    if "`" not in text:
        return f"`{text}`" if text.strip() else text
    runs = {len(run) for run in _RUNS.findall(text)}
    ticks = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    return f"{ticks} {text} {ticks}" if text[0] == "`" or text[-1] == "`" else f"{ticks}{text}{ticks}"


def link(text: str, target: str) -> str:
    """A link; one that shows its own address is the address."""
    if text == target:
        return text
    return f"[{text}](<{target}>)" if _UNFIT.search(target) else f"[{text}]({target})"


def joined(*parts: Sequence[str]) -> list[str]:
    """The blocks that are not empty, with a blank line between them."""
    lines: list[str] = []
    for part in filter(None, parts):
        lines += ["", *part] if lines else part
    return lines


def bold(title: str) -> list[str]:
    """A title that is no heading, as a block; empty for an empty one."""
    return [title if "**" in title else f"**{title}**"] if title else []


def indented(marker: str, body: Sequence[str]) -> list[str]:
    """A list item: `marker`, then the lines of `body` under its text."""
    if not body:
        return [marker]
    margin = " " * (len(marker) + 1)
    return [f"{marker} {body[0]}", *(margin + line if line else "" for line in body[1:])]


def quoted(lines: Iterable[str]) -> list[str]:
    """A block quote."""
    return [f"> {line}" if line else ">" for line in lines]


def labelled(label: str, body: Sequence[str]) -> list[str]:
    """`body` after words that say what it is: on its first line if that is a paragraph's."""
    if not body:
        return [label]
    if _NO_PARAGRAPH.match(body[0]) or not body[0]:
        return [label, "", *body]
    return [f"{label} {body[0]}", *body[1:]]


def admonition(label: str, body: Sequence[str]) -> list[str]:
    """A note, a warning and their like: a quote that begins with its label."""
    return quoted(labelled(f"**{label}:**" if body else f"**{label}.**", body))


def term(text: str, body: Sequence[str]) -> list[str]:
    """An entry of a description list: an item that begins with its term."""
    marked = text if "*" in text or "`" in text or not text else f"**{text}**"
    return indented("-", labelled(f"{marked}:", body) if body else [marked])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first row is its head; short rows are filled up."""
    width = max((len(row) for row in rows), default=0)
    if not width:
        return []
    written = []
    for row in rows:
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
        written.append("| " + " | ".join(cells + [""] * (width - len(cells))) + " |")
    return [written[0], "|" + " --- |" * width, *written[1:]]
