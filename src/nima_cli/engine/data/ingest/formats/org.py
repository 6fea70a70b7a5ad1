"""Turns Org into Markdown in one pass; no file makes it fail, since whatever is not markup is text."""

import re
from collections.abc import Sequence

from nima_cli.engine.data.ingest.formats.blocks import Block, Converter, markdown_text, run_end
from nima_cli.engine.data.ingest.formats.writing import code_span, fence, indented, labelled, link, quoted, table

_HEADLINE = re.compile(r"(?P<stars>\*{1,60})[ \t]+(?P<text>\S.*)$")
_TAGS = re.compile(r"(?<![ \t])[ \t]+:[\w@#%:]{1,200}:$")
_PRIORITY = re.compile(r"\[#[A-Za-z0-9]\][ \t]*")
_STATES = (
    *("TODO", "DONE", "NEXT", "WAITING", "HOLD", "CANCELLED", "CANCELED", "STARTED", "SOMEDAY", "INPROGRESS"),
    "COMMENT",
)
_BEGIN = re.compile(r"[ \t]*#\+begin_(?P<kind>\w{1,40})(?:[ \t]+(?P<rest>.*))?$", re.IGNORECASE)
_KEYWORD = re.compile(r"[ \t]*#\+(?P<name>[\w-]{1,40})(?:\[[^\]]{0,200}\])?:[ \t]*(?P<value>.*)$")
_DRAWER = re.compile(r"[ \t]*:(?P<name>[\w-]{1,60}):[ \t]*$")
_PLANNING = re.compile(r"[ \t]*(?:(?:SCHEDULED|DEADLINE|CLOSED|CLOCK):[ \t]*[\[<].*)$")
_RULE = re.compile(r"[ \t]*-{5,}$")
_ITEM = re.compile(r"(?P<margin>[ \t]*)(?P<mark>[-+]|\*(?<=[ \t]\*)|\d{1,9}[.)])[ \t]+(?P<text>\S.*)$")
_COUNTER = re.compile(r"\[@\d{1,9}\][ \t]*")
_FOOTNOTE = re.compile(r"\[fn:(?P<name>[\w-]{1,60})\][ \t]*(?P<text>.*)$")
_TERM = re.compile(r"(?P<term>\S.{0,300}?)[ \t]+::(?:[ \t]+(?P<text>.*))?$")
# Rows that align columns are not shown.
_ALIGNMENT = re.compile(r"[ \t]*(?:<[lrc]?\d{0,3}>[ \t]*)?")
_ESCAPED = re.compile(r"^(\s*),(?=\*|#\+)")
_TABLE_RULE = re.compile(r"\|-[-+|]*$")
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
_SHOWN_KEYWORDS = {"TITLE": "# {}", "SUBTITLE": "{}", "CAPTION": "**{}**"}
_LANGUAGES = {"emacs-lisp": "elisp", "shell": "sh"}
_FORMS = {"bold": "**{}**", "italic": "*{}*", "under": "{}", "struck": "~~{}~~"}


def org_to_markdown(text: str) -> str:
    """Convert Org with LF line ends; text without markup stays as it is."""
    lines = [*map(str.rstrip, text.split("\n"))]
    return markdown_text(_Org(lines).blocks(lines), text)


class _Org(Converter):
    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lambda text: _INLINE.sub(self._mark, text) if _MIGHT_HOLD.search(text) else text)
        self._with_title = False
        self._states = set(_STATES)
        self._links: dict[str, str] = {}
        # The indentation of the current list; None outside of lists.
        self._margin: int | None = None
        self._in_text = False
        self._ends = _block_ends(lines)
        # Keywords hold for the whole file.
        for match in filter(None, map(_KEYWORD.match, lines)):
            name, value = match["name"].upper(), match["value"]
            if name in ("TODO", "SEQ_TODO", "TYP_TODO"):
                self._states.update(filter(None, re.split(r"[\s|]+|\([^)]*\)", value)))
            elif name == "LINK" and " " in value:
                short, _, address = value.partition(" ")
                self._links[short] = address.strip()
            elif name == "TITLE" and value:
                self._with_title = True

    def nested(self, lines: Sequence[str], titled: bool = False) -> list[str]:
        outside = self._margin, self._in_text, self._ends
        self._margin, self._in_text, self._ends = None, False, _block_ends(lines)
        made = super().nested(lines, titled)
        self._margin, self._in_text, self._ends = outside
        return made

    def block(self, lines: Sequence[str], index: int) -> Block:
        found = self._apart(lines, index)
        made, after = found or self._text(lines, index)
        # Items and paragraphs are as far apart as in the file.
        self.gap = 0 if self._in_text and found is None else 1
        if made or not lines[index - 1]:
            self._in_text = found is None
        return made, after

    def _apart(self, lines: Sequence[str], index: int) -> Block | None:
        """Convert a block that is not text: what stands apart from its neighbours, or shows nothing."""
        line, end = lines[index], self._ends.get(index)
        stripped = line.lstrip(" \t")
        if (headline := _HEADLINE.match(line)) is not None:
            return self._headline(headline), index + 1
        if stripped[0] == "|":
            return self._table(lines, index)
        if _is_fixed(line):
            end = run_end(lines, index, _is_fixed)
            return fence([fixed.lstrip(" \t")[2:] for fixed in lines[index:end]]), end
        if end is not None and (begin := _BEGIN.match(line)) is not None:
            return self._block(begin["kind"].upper(), begin["rest"] or "", lines[index + 1 : end]), end + 1
        if end is not None or ((match := _DRAWER.match(line)) is not None and match["name"].upper() == "END"):
            return [], (end or index) + 1
        if (keyword := _KEYWORD.match(line)) is not None:
            form = _SHOWN_KEYWORDS.get(keyword["name"].upper()) if keyword["value"] else None
            return [form.format(self.inline(keyword["value"]))] if form else [], index + 1
        if stripped.startswith(("#+", "# ")) or stripped == "#" or _PLANNING.match(line):
            return [], index + 1
        return (["---"], index + 1) if _RULE.match(line) else None

    def _headline(self, match: re.Match[str]) -> list[str]:
        self._margin = None
        text = _TAGS.sub("", match["text"])
        first, _, rest = text.partition(" ")
        if first in self._states and rest:
            text = rest.lstrip()
        level = min(len(match["stars"]) + self._with_title, 6)
        return [f"{'#' * level} {self.inline(_PRIORITY.sub('', text, count=1))}"]

    def _block(self, kind: str, rest: str, body: Sequence[str]) -> list[str]:
        """Convert the block from `#+begin_KIND` to its end."""
        words = rest.lower().split()
        if kind == "COMMENT":
            return []
        if kind == "EXPORT":
            return list(body) if not words or words[0] in ("md", "markdown", "html") else []
        if kind in ("SRC", "EXAMPLE"):
            language = words[0] if words and kind == "SRC" and words[0][0] not in ":-" else ""
            return fence([_ESCAPED.sub(r"\1", line) for line in body], _LANGUAGES.get(language, language))
        made = self.nested(body)
        return quoted(made) if kind in ("QUOTE", "VERSE") else made

    def _table(self, lines: Sequence[str], index: int) -> Block:
        end = run_end(lines, index, lambda line: line.lstrip(" \t")[:1] == "|")
        rows: list[list[str]] = []
        headed = False
        for line in map(str.strip, lines[index:end]):
            cells = line.removeprefix("|").removesuffix("|").split("|")
            if _TABLE_RULE.match(line):
                headed = headed or len(rows) == 1
            elif not all(map(_ALIGNMENT.fullmatch, cells)):
                rows.append([self.inline(cell.strip()) for cell in cells])
        return table(rows if headed or not rows else [[], *rows]), end

    def _text(self, lines: Sequence[str], index: int) -> Block:
        """Convert a paragraph, or an item of a list with its margin."""
        first = lines[index]
        if (note := _FOOTNOTE.match(first)) is not None:
            return [f"[^{note['name']}]: {self.inline(note['text'])}"], index + 1
        end = run_end(lines, index + 1, _goes_on)
        item = _ITEM.match(first)
        if item is None:
            return self.inline("\n".join(self._unindented(lines[index:end]))).split("\n"), end
        if self._margin is None:
            self._margin = len(item["margin"])
        margin = item["margin"].replace("\t", "  ")[self._margin :]
        mark = "-" if item["mark"] in "-+*" else f"{item['mark'][:-1]}."
        named = _TERM.match(item["text"]) if mark == "-" else None
        text = named["text"] or "" if named is not None else _COUNTER.sub("", item["text"], count=1)
        text = self.inline("\n".join([text, *map(str.strip, lines[index + 1 : end])]).strip())
        made = [line.strip() for line in text.split("\n")]
        if named is not None:
            made = labelled(f"**{self.inline(named['term'])}**:", list(filter(None, made)))
        return [margin + line for line in indented(mark, made)], end

    def _unindented(self, lines: Sequence[str]) -> list[str]:
        """Move the lines of a paragraph to the margin, or under their list item."""
        indent = len(lines[0]) - len(lines[0].lstrip(" "))
        if self._margin is not None and indent <= self._margin:
            self._margin = None
        under = " " * (indent - self._margin) if self._margin is not None else ""
        return [under + line.lstrip(" \t") for line in lines]

    def _mark(self, match: re.Match[str]) -> str:
        kind = match.lastgroup
        if kind in ("target", "shown"):
            return self._link(match["target"], match["shown"])
        if kind in ("code", "verbatim"):
            return code_span(match[kind])
        if kind in _FORMS:
            return _FORMS[kind].format(self.inline(match[kind]))
        if kind in ("note", "defined"):
            return f" ({match['defined'][1:].strip()})" if match["defined"] else f"[^{match['note']}]"
        return match["raw"] if kind == "raw" and match["export"] in ("html", "md") else ""

    def _link(self, target: str, shown: str | None) -> str:
        short, colon, rest = target.partition(":")
        if colon and short in self._links:
            base = self._links[short]
            target = base.replace("%s", rest) if "%s" in base else base + rest
        target = target.removeprefix("file:")
        if shown is None:
            return "" if _PICTURE.search(target) else target.lstrip("*#")
        return link(self.inline(shown), target) if target[:1] not in ("*", "#", "(") and "://" in target else shown


def _is_fixed(line: str) -> bool:
    """Tell whether a line is code after a colon."""
    return line.lstrip(" \t")[:2] in (": ", ":")


def _goes_on(line: str) -> bool:
    if line.lstrip(" \t")[:1] in ("", "|", ":", "#"):
        return False
    return not any(begin.match(line) for begin in (_ITEM, _FOOTNOTE, _HEADLINE, _RULE, _PLANNING))


def _block_ends(lines: Sequence[str]) -> dict[int, int]:
    """Find the last line of each block and drawer by its first, unless it is never closed."""
    ends: dict[int, int] = {}
    waiting: dict[str, int] = {}
    for index, line in enumerate(lines):
        mark = line.lstrip(" \t")[:40].lower()
        name = (mark[mark.find("_") + 1 :].split() or [""])[0]
        if mark.startswith("#+begin_"):
            waiting.setdefault(name, index)
        elif mark.startswith("#+end_") and name in waiting:
            ends[waiting.pop(name)] = index
        elif mark == ":end:" and ":" in waiting:
            ends[waiting.pop(":")] = index
        elif mark != ":end:" and mark.startswith(":") and _DRAWER.match(line):
            waiting[":"] = index
    return ends
