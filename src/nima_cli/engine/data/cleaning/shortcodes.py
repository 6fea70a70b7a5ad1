"""What Hugo's shortcodes say in plain Markdown; knows nothing of where in a text they stand.

Hugo fills `{{< name … >}}` and `{{% name … %}}` when a site is built. Those that hold code become fences; those that
stand for words leave their words; the rest leaves nothing but what stands between an opening and a closing one.
"""

import re

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.cleaning.whitespace import CleanReport

# Hugo writes a shortcode that it shall not fill as `{{</* name */>}}`.
SHORTCODE = r"\{(?P<short>\{(?:<(?:[^{\0]|\{(?!\{)){0,2000}?>|%(?:[^{\0]|\{(?!\{)){0,2000}?%)\}\})"
_OPEN = re.compile(
    r"(?P<margin>[ \t]*)\{\{[<%]\s*(?P<name>text|highlight)\b\s*\"?(?P<language>[\w+#-]*)[^{}]*[>%]\}\}[ \t]*"
)
_CLOSE = re.compile(r"^[ \t]*\{\{[<%]\s*/(?P<name>text|highlight)\s*[>%]\}\}[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"\{\{[<%]\s*(?P<name>[\w./-]*)")
_TEXT = re.compile(r"""\btext\s*=\s*(?:"([^"]*)"|`([^`]*)`)""")
_FIRST = re.compile(r"""\{\{[<%]\s*[\w-]+\s+(?:"([^"]*)"|`([^`]*)`|(\S+))""")
# These stand for their first argument.
_SPOKEN = frozenset({"ref", "relref", "heading"})
_TICKS = re.compile(r"`{3,}")


def plain_shortcode(mark: str) -> str:
    """The words that one shortcode stands for; empty if it is only a mark."""
    found = _TEXT.search(mark)
    if found is not None:
        return found[1] or found[2] or ""
    name = _NAME.match(mark)
    if name is not None and name["name"] in _SPOKEN:
        first = _FIRST.match(mark)
        return (first[1] or first[2] or first[3] or "") if first is not None else ""
    return ""


def fence_code_shortcodes(text: str, report: CleanReport) -> str:
    """Write `{{< text bash >}}` … `{{< /text >}}`, and the same with `highlight`, as fences; what they hold is kept.

    Only marks on lines of their own outside fences count, and only when they are closed.
    """
    if not _CLOSE.search(text):
        return text
    lines = text.split("\n")
    fenced = bytearray(len(lines))
    for block in blocks(text):
        if block.kind == "fence":
            fenced[block.start : block.end] = b"\1" * (block.end - block.start)
    closings = _closings(lines)
    index = 0
    while index < len(lines):
        opening = None if fenced[index] else _OPEN.fullmatch(lines[index])
        end = _next(closings[opening["name"]], index) if opening is not None else None
        if opening is None or end is None:
            index += 1
            continue
        longest = max((len(run) for line in lines[index + 1 : end] for run in _TICKS.findall(line)), default=2)
        ticks = "`" * (longest + 1)
        lines[index] = f"{opening['margin']}{ticks}{opening['language']}"
        lines[end] = f"{opening['margin']}{ticks}"
        report.shortcodes += 2
        index = end + 1
    return "\n".join(lines)


def _closings(lines: list[str]) -> dict[str, list[int]]:
    """Line numbers of the closing marks by name, the last first."""
    found: dict[str, list[int]] = {"text": [], "highlight": []}
    for index in range(len(lines) - 1, -1, -1):
        match = _CLOSE.fullmatch(lines[index])
        if match is not None:
            found[match["name"]].append(index)
    return found


def _next(closings: list[int], index: int) -> int | None:
    """The first closing after `index`; those before it are used up."""
    while closings and closings[-1] <= index:
        closings.pop()
    return closings[-1] if closings else None
