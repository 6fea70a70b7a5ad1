"""Writes blocks and phrases of Markdown for the converters."""

import re
from collections.abc import Iterable, Sequence

_TICKS = re.compile(r"`{3,}")
_RUNS = re.compile(r"`+")
# In an address without angle brackets.
_UNFIT = re.compile(r"[\s()]")
# Begins a block before which nothing can be written on its line.
_NO_PARAGRAPH = re.compile(r"```|>|#{1,6} |[-*+] |\d{1,9}[.)] |\||\$\$")


def dedented(lines: Sequence[str]) -> list[str]:
    """Remove blank lines at both ends and the shared indentation."""
    margins = {index: len(line) - len(line.lstrip(" ")) for index, line in enumerate(lines) if line.strip()}
    if not margins:
        return []
    margin = min(margins.values())
    return [line[margin:] if line.strip() else "" for line in lines[min(margins) : max(margins) + 1]]


def code_block(code: str, language: str) -> str:
    """Fence `code`, which neither begins nor ends with a line end, with more ticks than any fence inside it."""
    ticks = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(code))])
    return f"{ticks}{language}\n{code}\n{ticks}"


def fence(code: Sequence[str], language: str = "") -> list[str]:
    """Fence lines of code without their shared indentation; no code gives no lines."""
    lines = dedented(code)
    return code_block("\n".join(lines), language).split("\n") if lines else []


def code_span(text: str) -> str:
    """Write `text` as a code span on one line, with as many ticks as it takes."""
    text = text.replace("\n", " ")
    if "`" not in text:
        return f"`{text}`" if text.strip() else text
    runs = {len(run) for run in _RUNS.findall(text)}
    ticks = "`" * next(length for length in range(1, len(runs) + 2) if length not in runs)
    return f"{ticks} {text} {ticks}" if text[0] == "`" or text[-1] == "`" else f"{ticks}{text}{ticks}"


def link(text: str, target: str) -> str:
    """Write a link; a link that shows its own address is the address."""
    if text == target:
        return text
    return f"[{text}](<{target}>)" if _UNFIT.search(target) else f"[{text}]({target})"


def joined(*parts: Sequence[str]) -> list[str]:
    """Join the blocks that are not empty with blank lines."""
    lines: list[str] = []
    for part in filter(None, parts):
        lines += ["", *part] if lines else part
    return lines


def bold(title: str) -> list[str]:
    """Write a title that is not a heading."""
    return [title if "**" in title else f"**{title}**"] if title else []


def indented(marker: str, body: Sequence[str]) -> list[str]:
    """Write a list item, with its body aligned after `marker`."""
    if not body:
        return [marker]
    margin = " " * (len(marker) + 1)
    return [f"{marker} {body[0]}", *(margin + line if line else "" for line in body[1:])]


def quoted(lines: Iterable[str]) -> list[str]:
    return [f"> {line}" if line else ">" for line in lines]


def labelled(label: str, body: Sequence[str]) -> list[str]:
    """Put a label before `body`: on its first line if that is a paragraph's."""
    if not body:
        return [label]
    return [label, "", *body] if not body[0] or _NO_PARAGRAPH.match(body[0]) else [f"{label} {body[0]}", *body[1:]]


def admonition(label: str, body: Sequence[str]) -> list[str]:
    """Write a note, a warning or the like as a quote that begins with its label."""
    return quoted(labelled(f"**{label}:**" if body else f"**{label}.**", body))


def term(text: str, body: Sequence[str]) -> list[str]:
    """Write an entry of a description list as an item that begins with its term."""
    marked = text if "*" in text or "`" in text or not text else f"**{text}**"
    return indented("-", labelled(f"{marked}:", body) if body else [marked])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write a table whose first row is its head; short rows are filled up."""
    width = max(map(len, rows), default=0)
    if not width:
        return []
    padded = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] + [""] * (width - len(row)) for row in rows]
    head, *body = (f"| {' | '.join(row)} |" for row in padded)
    return [head, "|" + " --- |" * width, *body]
