"""Turns Org into Markdown: one pass over the lines; nothing in a file makes it fail, what is no markup is text."""

import re
from collections.abc import Sequence

from nima_cli.engine.data.ingest.formats.writing import code_span, fence, labelled, link, quoted, table

_HEADLINE = re.compile(r"(?P<stars>\*{1,60})[ \t]+(?P<text>\S.*)$")
_TAGS = re.compile(r"[ \t]+:[\w@#%:]{1,200}:$")
_PRIORITY = re.compile(r"\[#[A-Za-z0-9]\][ \t]*")
_STATES = frozenset(
    ("TODO", "DONE", "NEXT", "WAITING", "HOLD", "CANCELLED", "CANCELED", "STARTED", "SOMEDAY", "INPROGRESS", "COMMENT")
)
# Blocks nested deeper than anyone writes stay as they are.
_DEEPEST = 8
_BEGIN = re.compile(r"[ \t]*#\+begin_(?P<kind>\w{1,40})(?:[ \t]+(?P<rest>.*))?$", re.IGNORECASE)
_KEYWORD = re.compile(r"[ \t]*#\+(?P<name>[\w-]{1,40})(?:\[[^\]]{0,200}\])?:[ \t]*(?P<value>.*)$")
_DRAWER = re.compile(r"[ \t]*:(?P<name>[\w-]{1,60}):[ \t]*$")
_PLANNING = re.compile(r"[ \t]*(?:(?:SCHEDULED|DEADLINE|CLOSED|CLOCK):[ \t]*[\[<].*)$")
_RULE = re.compile(r"[ \t]*-{5,}$")
_ITEM = re.compile(r"(?P<margin>[ \t]*)(?P<mark>[-+]|\*(?<=[ \t]\*)|\d{1,9}[.)])[ \t]+(?P<text>\S.*)$")
_COUNTER = re.compile(r"\[@\d{1,9}\][ \t]*")
_FOOTNOTE = re.compile(r"\[fn:(?P<name>[\w-]{1,60})\][ \t]*(?P<text>.*)$")
_TERM = re.compile(r"(?P<term>\S.{0,300}?)[ \t]+::(?:[ \t]+(?P<text>.*))?$")
_TABLE_RULE = re.compile(r"[ \t]*\|-[-+|]*$")
# Marks count between white space or punctuation; none can begin inside itself, which keeps the search linear.
_BEFORE, _AFTER = r"(?<![^\s\-({'\"*/_+])", r"(?![^\s\-.,:!?;'\")}\[*/_+])"
_INLINE = re.compile(
    rf"""\[\[(?P<target>[^\[\]\n]{{1,1000}})\](?:\[(?P<shown>[^\[\]]{{1,1000}})\])?\]
    |\[fn:(?P<note>[\w-]{{0,60}})(?P<defined>:[^\]]{{1,1000}})?\]
    |{_BEFORE}~(?P<code>[^~\s](?:[^~]{{0,500}}[^~\s])?)~{_AFTER}
    |{_BEFORE}=(?P<verbatim>[^=\s](?:[^=]{{0,500}}[^=\s])?)={_AFTER}
    |{_BEFORE}\*(?P<bold>[^*\s](?:[^*]{{0,500}}[^*\s])?)\*{_AFTER}
    |{_BEFORE}/(?P<italic>[^/\s](?:[^/]{{0,500}}[^/\s])?)/{_AFTER}
    |{_BEFORE}_(?P<under>[^_\s](?:[^_]{{0,500}}[^_\s])?)_{_AFTER}
    |{_BEFORE}\+(?P<struck>[^+\s](?:[^+]{{0,500}}[^+\s])?)\+{_AFTER}
    |<<<?(?P<anchor>[^<>\n]{{1,200}})>>>?
    |@@(?P<export>[\w-]{{1,20}}):(?P<raw>[^@\n]{{0,500}})@@
    |\\\\$(?P<break>)""",
    re.VERBOSE | re.MULTILINE,
)
_MIGHT_HOLD = re.compile(r"[\[~=*/_+<@\\]")
_PICTURE = re.compile(r"\.(?:png|jpe?g|gif|svg|webp)$", re.IGNORECASE)
_FORMS = {"bold": "**{}**", "italic": "*{}*", "under": "{}", "struck": "~~{}~~"}


def org_to_markdown(text: str) -> str:
    """`text`, Org, as Markdown; a text without markup comes back as it was.

    Args:
        text: with LF line ends.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    written = "\n".join(_Converter(lines).written())
    return written + "\n" if text.endswith("\n") and written else written


class _Converter:
    """Converts one file."""

    def __init__(self, lines: Sequence[str], depth: int = 0) -> None:
        self._lines = lines
        self._depth = depth
        self._titled = False
        self._states = set(_STATES)
        self._links: dict[str, str] = {}
        # How far the list at hand is indented; None outside of lists.
        self._margin: int | None = None
        self._ends = _block_ends(lines)
        for line in lines:
            match = _KEYWORD.match(line) if "#+" in line else None
            if match is not None:
                self._keyword(match["name"].upper(), match["value"])

    def _keyword(self, name: str, value: str) -> None:
        """Settings that hold for the whole file."""
        if name in ("TODO", "SEQ_TODO", "TYP_TODO"):
            self._states.update(re.split(r"[\s|]+|\([^)]*\)", value))
            self._states.discard("")
        elif name == "LINK" and " " in value:
            short, _, address = value.partition(" ")
            self._links[short] = address.strip()
        elif name == "TITLE" and value:
            self._titled = True

    def written(self) -> list[str]:
        """The lines of the file in Markdown."""
        written: list[str] = []
        index = blank = 0
        block = True
        while index < len(self._lines):
            if not self._lines[index]:
                blank += 1
                index += 1
                continue
            made, index, apart = self._next(index)
            if made:
                if written:
                    written += [""] * (max(blank, 1) if apart or block else blank)
                written += made
                blank, block = 0, apart
            else:
                blank = min(blank, 1)
        return written

    def _next(self, index: int) -> tuple[list[str], int, bool]:
        """The lines of what begins at `index`, the line after it, and whether it stands apart from its neighbours."""
        line = self._lines[index]
        if line[0] == "*" and (headline := _HEADLINE.match(line)) is not None:
            return self._headline(headline), index + 1, True
        begin = _BEGIN.match(line) if "#+" in line else None
        if begin is not None and index in self._ends:
            end = self._ends[index]
            return self._block(begin, self._lines[index + 1 : end]), end + 1, True
        if (keyword := _KEYWORD.match(line)) is not None:
            return self._shown_keyword(keyword["name"].upper(), keyword["value"]), index + 1, True
        stripped = line.lstrip(" \t")
        if stripped.startswith(("#+", "# ")) or stripped == "#":
            return [], index + 1, True
        drawer = _DRAWER.match(line)
        if drawer is not None and (index in self._ends or drawer["name"].upper() == "END"):
            end = self._ends.get(index, index)
            return [], end + 1, True
        if _PLANNING.match(line):
            return [], index + 1, True
        if _RULE.match(line):
            return ["---"], index + 1, True
        if stripped[0] == "|":
            return self._table(index)
        if stripped.startswith(": ") or stripped == ":":
            return self._fixed(index)
        return self._text(index)

    def _headline(self, match: re.Match[str]) -> list[str]:
        self._margin = None
        text = _TAGS.sub("", match["text"])
        first, _, rest = text.partition(" ")
        if first in self._states and rest:
            text = rest.lstrip()
        text = _PRIORITY.sub("", text, count=1)
        level = min(len(match["stars"]) + self._titled, 6)
        return [f"{'#' * level} {self._inline(text)}"]

    def _block(self, begin: re.Match[str], body: Sequence[str]) -> list[str]:
        kind = begin["kind"].upper()
        if kind == "COMMENT":
            return []
        if kind in ("SRC", "EXAMPLE", "EXPORT"):
            words = (begin["rest"] or "").split()
            language = words[0].lower() if words and kind == "SRC" and words[0][0] not in ":-" else ""
            if kind == "EXPORT" and words and words[0].lower() not in ("md", "markdown", "html"):
                return []
            code = [line.replace(",*", "*", 1) if line.lstrip().startswith((",*", ",#+")) else line for line in body]
            code = [line.replace(",#+", "#+", 1) if line.lstrip().startswith(",#+") else line for line in code]
            language = {"emacs-lisp": "elisp", "shell": "sh"}.get(language, language)
            return list(body) if kind == "EXPORT" else fence(code, language)
        if self._depth >= _DEEPEST:
            return list(body)
        inner = _Converter(body, self._depth + 1)
        inner._links, inner._states = self._links, self._states
        written = inner.written()
        return quoted(written) if kind in ("QUOTE", "VERSE") else written

    def _shown_keyword(self, name: str, value: str) -> list[str]:
        if name == "TITLE" and value:
            return [f"# {self._inline(value)}"]
        if name == "SUBTITLE" and value:
            return [self._inline(value)]
        return [f"**{self._inline(value)}**"] if name == "CAPTION" and value else []

    def _table(self, index: int) -> tuple[list[str], int, bool]:
        end = index
        rows: list[list[str]] = []
        headed = False
        while end < len(self._lines) and self._lines[end].lstrip(" \t")[:1] == "|":
            line = self._lines[end].strip()
            if _TABLE_RULE.match(line):
                headed = headed or len(rows) == 1
            elif not re.fullmatch(r"\|(?:[ \t]*<[lrc]?\d{0,3}>[ \t]*\|?|[ \t]*\|?){1,100}", line):
                cells = line.removeprefix("|").removesuffix("|").split("|")
                rows.append([self._inline(cell.strip()) for cell in cells])
            end += 1
        if rows and not headed:
            rows.insert(0, [""] * len(rows[0]))
        return table(rows), end, True

    def _fixed(self, index: int) -> tuple[list[str], int, bool]:
        end = index
        code: list[str] = []
        while end < len(self._lines) and self._lines[end].lstrip(" \t")[:2] in (": ", ":"):
            code.append(self._lines[end].lstrip(" \t")[2:])
            end += 1
        return fence(code), end, True

    def _text(self, index: int) -> tuple[list[str], int, bool]:
        """A line of a paragraph or of a list, which keeps its margin."""
        line = self._lines[index]
        note = _FOOTNOTE.match(line)
        if note is not None:
            return [f"[^{note['name']}]: {self._inline(note['text'])}"], index + 1, False
        end = index + 1
        while end < len(self._lines) and self._is_plain(end):
            end += 1
        item = _ITEM.match(line)
        if item is None:
            return self._inline("\n".join(self._unindented(index, end))).split("\n"), end, False
        if self._margin is None:
            self._margin = len(item["margin"])
        margin = item["margin"].replace("\t", "  ")[self._margin :]
        mark = "-" if item["mark"] in "-+*" else f"{item['mark'][:-1]}."
        text = "\n".join([_COUNTER.sub("", item["text"], count=1), *self._lines[index + 1 : end]])
        named = _TERM.match(item["text"])
        if named is not None and mark == "-":
            rest = [named["text"] or "", *(line.strip() for line in self._lines[index + 1 : end])]
            body = self._inline("\n".join(rest).strip()).split("\n")
            made = labelled(f"**{self._inline(named['term'])}**:", [part for part in body if part])
        else:
            made = self._inline(text).split("\n")
        under = margin + " " * (len(mark) + 1)
        return [f"{margin}{mark} {made[0]}", *(under + part.strip() for part in made[1:])], end, False

    def _unindented(self, index: int, end: int) -> list[str]:
        """The lines of a paragraph: at the margin, or under the list item that it belongs to."""
        lines = self._lines[index:end]
        indent = len(lines[0]) - len(lines[0].lstrip(" "))
        if self._margin is None or indent <= self._margin:
            self._margin = None
            return [line.lstrip(" \t") for line in lines]
        return [" " * (indent - self._margin) + line.lstrip(" \t") for line in lines]

    def _is_plain(self, index: int) -> bool:
        """Whether the line goes on with the paragraph above it."""
        line = self._lines[index]
        stripped = line.lstrip(" \t")
        if not stripped or stripped[0] in "|:#" or _ITEM.match(line) or _FOOTNOTE.match(line):
            return False
        return not (_HEADLINE.match(line) or _RULE.match(line) or _PLANNING.match(line))

    def _inline(self, text: str) -> str:
        return _INLINE.sub(self._mark, text) if _MIGHT_HOLD.search(text) else text

    def _mark(self, match: re.Match[str]) -> str:
        kind = match.lastgroup
        if kind in ("target", "shown"):
            return self._link(match["target"], match["shown"])
        if kind in ("code", "verbatim"):
            return code_span(match[kind])
        if kind in _FORMS:
            return _FORMS[kind].format(self._inline(match[kind]))
        if kind in ("note", "defined"):
            return f" ({match['defined'][1:].strip()})" if match["defined"] else f"[^{match['note']}]"
        if kind == "raw":
            return match["raw"] if match["export"] in ("html", "md") else ""
        return ""

    def _link(self, target: str, shown: str | None) -> str:
        short, colon, rest = target.partition(":")
        if colon and short in self._links:
            base = self._links[short]
            target = base.replace("%s", rest) if "%s" in base else base + rest
        target = target.removeprefix("file:")
        if shown is None:
            return "" if _PICTURE.search(target) else target.lstrip("*#")
        return link(self._inline(shown), target) if target[:1] not in ("*", "#", "(") and "://" in target else shown


def _block_ends(lines: Sequence[str]) -> dict[int, int]:
    """The last line of each block and drawer, by its first; what is never closed is none."""
    ends: dict[int, int] = {}
    waiting: dict[str, int] = {}
    for index, line in enumerate(lines):
        mark = line.lstrip(" \t")[:40].lower()
        if mark.startswith("#+begin_"):
            waiting.setdefault(mark[8:].split()[0] if mark[8:].split() else "", index)
        elif mark.startswith("#+end_"):
            start = waiting.pop(mark[6:].split()[0] if mark[6:].split() else "", None)
            if start is not None:
                ends[start] = index
        elif mark == ":end:":
            start = waiting.pop(":", None)
            if start is not None:
                ends[start] = index
        elif mark.startswith(":") and _DRAWER.match(line):
            waiting[":"] = index
    return ends
