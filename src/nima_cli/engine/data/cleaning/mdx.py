"""Takes out of MDX what is run rather than shown: imports and exports.

Code that only begins like one of them stays: `import "fmt"`, `export PATH=$PATH:/x`, a sentence on exports.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from nima_cli.engine.data.cleaning.markdown import verbatim_lines, without
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts

_NAME = r"[A-Za-z_$][\w$]*+"
_STRING = r"(?:\"[^\"\n]{1,300}\"|'[^'\n]{1,300}')"
_STAR = rf"\*\s*+as\s++{_NAME}"
_BRACES = r"\{[^{}\"'`;]{0,4000}\}"
_END = r";?[ \t]*+$"
_IMPORT = (
    rf"import(?:[ \t]+type)?(?:\s++{_NAME}(?:\s*+,\s*+(?:{_STAR}|{_BRACES}))?|\s*+(?:{_STAR}|{_BRACES}))"
    rf"\s*+from\s*+{_STRING}{_END}"
    # A file that is imported for its effects; a bare name is a package of another language.
    rf"|import\s++(?:\"[./@~][^\"\n]{{0,300}}\"|'[./@~][^'\n]{{0,300}}'){_END}"
)
_EXPORT = (
    rf"export\s++(?:(?:const|let|var)\s++(?:{_NAME}|{_BRACES}|\[[\w$, ]{{0,500}}\])(?:\s*+:[^=;\n]{{0,300}})?\s*+="
    rf"|(?:default\s++)?(?:async\s++)?function\b\s*+\*?\s*+(?:{_NAME})?\s*+\("
    rf"|(?:default\s++)?class\b(?:\s++[A-Za-z_$][\w$.]*+){{0,3}}\s*+\{{"
    rf"|type\s++{_NAME}\s*+=|interface\s++{_NAME}\s*+\{{"
    rf"|default\s++(?:{_NAME}{_END}|\{{|\(\s*+[){{]|\([\w$, \t]*\)\s*+=>)"
    rf"|(?:{_BRACES}(?:\s*+from\s*+{_STRING})?|\*(?:\s*+as\s++{_NAME})?\s*+from\s*+{_STRING}){_END})"
)
_HEAD = re.compile(rf"^(?:{_IMPORT}|{_EXPORT})", re.MULTILINE)
# Strings and remarks, in which brackets do not count; nothing here can be read in two ways, or twice.
_TOKEN = re.compile(
    r"\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+'|`(?:[^`\\]|\\[\s\S])*+`|(?<!:)//[^\n]*+"
    r"|/\*(?:[^*/]|\*(?!/)|/(?!\*))*+\*/|(?P<opens>[({\[])|(?P<closes>[)}\]])|(?P<line_end>\n)"
)
_UNFINISHED = ("=", "=>", ",", "(", "+", "?", ":", "&&", "||")
_GOES_ON = re.compile(r"\n[ \t]++[.?:|&+]")


def without_statements(text: str, counts: CleaningCounts) -> str:
    """`text` without the imports and exports that begin a line outside code, with all the lines that each takes.

    Args:
        text: Markdown with LF line ends.
    """
    statements = list(_statements(text))
    counts.shortcodes += len(statements)
    return without(text, statements)


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Where the statements are, in order. They do not overlap, so that unclosed ones are read once."""
    heads = [found.start() for found in _HEAD.finditer(text)]
    if not heads:
        return
    lines = text.split("\n")
    offsets = [0, *accumulate(len(line) + 1 for line in lines)]
    # Indented lines may be those of a statement.
    code = [
        (offsets[start], offsets[end])
        for start, end, kind in verbatim_lines(text, lines, only_code=True)
        if kind != "code"
    ]
    starts = [start for start, _ in code]
    free = [head for head in heads if not (n := bisect_right(starts, head)) or head >= code[n - 1][1]]
    limits = sorted([*free, *starts, len(text)])
    for head in free:
        end = _end(text, head, limits[bisect_right(limits, head)])
        if end is not None:
            yield head, end


def _end(text: str, start: int, limit: int) -> int | None:
    """After the line that ends a statement; None if its brackets are not closed."""
    depth = 0
    for token in _TOKEN.finditer(text, start, limit):
        depth += (token["opens"] is not None) - (token["closes"] is not None)
        if depth < 0:
            return None
        if token["line_end"] and not depth and not _goes_on(text, token.start()):
            return token.end()
    return None if depth else limit


def _goes_on(text: str, line_end: int) -> bool:
    line = text[text.rfind("\n", 0, line_end) + 1 : line_end].rstrip(" \t")
    unfinished = line.endswith(_UNFINISHED) and not text.startswith("\n", line_end + 1)
    return unfinished or _GOES_ON.match(text, line_end) is not None
