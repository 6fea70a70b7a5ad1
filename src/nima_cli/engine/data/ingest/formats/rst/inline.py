"""Turns inline markup of reStructuredText into Markdown."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from nima_cli.engine.data.ingest.formats.blocks import run_end
from nima_cli.engine.data.ingest.formats.writing import code_span, link

_ROLE = r"[A-Za-z][\w.+-]{0,60}(?::[A-Za-z][\w.+-]{0,60}){0,3}"
# Each alternative begins with its own character, which makes the search fast; no part can begin inside itself, which
# keeps it linear.
_MARK = re.compile(
    rf"""``(?=[^\s`])(?P<literal>(?:[^`]|`(?!`)){{1,2000}}(?<!\s)`?)``(?!`)
    |`(?<![\w`]`)(?P<text>(?:[^`\\]|\\.){{1,2000}}(?<!\s))`(?:(?P<link>__?)(?!\w)|:(?P<after>{_ROLE}):)?(?!`)
    |:(?<!\w:)(?P<role>{_ROLE}):`(?P<spoken>(?:[^`\\]|\\.){{1,2000}})`
    |\|(?P<name>[^\s|](?:[^|\n]{{0,80}}[^\s|])?)\|(?P<named>_{{0,2}})
    |\[(?P<note>\#?[A-Za-z0-9][\w.-]{{0,60}}|\#|\*)\]_(?!\w)
    |\\(?P<escaped>.)
    |_`(?P<target>[^`]{{1,300}})`
    |_(?<=[A-Za-z0-9]_)(?P<anonymous>_?)(?![\w`])""",
    re.VERBOSE | re.DOTALL,
)
_MIGHT_HOLD = re.compile(r"[`\\|]|_(?:\W|$)")
_EMBEDDED = re.compile(r"(?P<text>(?:[^<]|<(?!\S[^<>]{0,2000}>\Z)){0,2000})<(?P<target>[^<>]{1,2000})>\Z", re.DOTALL)
_ESCAPE = re.compile(r"\\(\s|.)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z0-9](?:[\w.+:-]{0,80}[A-Za-z0-9])?\Z")
_BRACES = re.compile(r"(?<!\\)[{}]")

# Roles that show text; all others show code.
_PLAIN = (
    *("abbr", "abbreviation", "ac", "any", "cite", "dfn", "doc", "download", "eq", "guilabel", "menuselection"),
    *("numref", "ref", "source", "sub", "subscript", "sup", "superscript", "term", "ticket", "title", "user"),
    *("title-reference", "t", "manpage"),
)
_FORMS = {**dict.fromkeys(_PLAIN, "{}"), "emphasis": "*{}*", "strong": "**{}**"}
_NUMBERED = {"pep": "PEP ", "rfc": "RFC ", "issue": "bpo-", "gh": "gh-", "bpo": "bpo-", "cve": "CVE ", "cwe": "CWE "}
_TARGET = re.compile(
    r"\.\. _(?:`(?P<quoted>[^`]{1,300})`|(?P<plain>(?:[^:\\]|\\.|:(?! |$)){1,300})):(?: +(?P<url>.*))?$"
)
_ANONYMOUS = re.compile(r"(?:\.\. __:|__) +(?P<url>\S.*)$")
_SUBSTITUTION = re.compile(
    r"\.\. \|(?P<name>[^|]{1,200})\| +(?P<kind>replace|image|unicode|date)::(?: +(?P<text>.*))?$"
)
_FOOTNOTE = re.compile(r"\.\. \[(?P<mark>#[\w.-]{0,60}|\d{1,9})\](?: |$)")
_CODE_POINT = re.compile(r"(?:0x|x|\\x|U\+|u|\\u|&#x)?([0-9A-Fa-f]{2,6});?")


def normal(name: str) -> str:
    """Make names equal that differ only in white space and case."""
    return " ".join(name.split()).lower()


class References:
    """The names of one file, wherever they are defined in it."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.targets: dict[str, str] = {}  # addresses by normal name
        self.anonymous: list[str] = []  # addresses in reverse order of their references
        self.substitutions: dict[str, str] = {}  # text in markup by name
        self.titles: dict[str, str] = {}  # by the normal name of the label over them
        self.labels: dict[str, str] = {}  # numbers of the footnotes that have a label and no number
        self.unlabelled: list[str] = []  # numbers of the footnotes that have neither, in order
        notes: list[str] = []
        waiting: list[str] = []
        for index, line in enumerate(lines):
            mark = line.lstrip(" ")
            if not mark.startswith((".. ", "__ ")):
                if waiting and mark:
                    self._label(waiting, lines[index : index + 3])
                    waiting = []
            elif (match := _ANONYMOUS.match(mark)) is not None:
                self.anonymous.append("".join(match["url"].split()))
            elif (match := _TARGET.match(mark)) is not None:
                name = normal((match["quoted"] or match["plain"]).replace("\\", ""))
                url = _address(match["url"], lines, index)
                if url:
                    self.targets.setdefault(name, url)
                else:
                    waiting.append(name)
            elif (match := _SUBSTITUTION.match(mark)) is not None:
                self.substitutions.setdefault(match["name"], _substitute(match, lines, index))
            elif (match := _FOOTNOTE.match(mark)) is not None:
                notes.append(match["mark"])
        self.anonymous.reverse()
        taken = {mark for mark in notes if mark.isdigit()}
        free = (number for number in map(str, itertools.count(1)) if number not in taken)
        for mark in notes:
            if mark == "#":
                self.unlabelled.append(next(free))
            elif mark not in taken:
                number = next(free)
                self.labels.setdefault(mark[1:].lower(), number)

    def target(self, name: str) -> str | None:
        """Find the address for a name, through one other name at most."""
        found = self.targets.get(normal(name))
        if found is not None and found.endswith("_") and "/" not in found:
            return self.targets.get(normal(found[:-1].strip("`")))
        return found

    def _label(self, names: Sequence[str], lines: Sequence[str]) -> None:
        """Let labels lead to the title under them, with or without an overline."""
        title, under = lines[1:3] if _is_run(lines[0]) and len(lines) > 2 else [*lines, ""][:2]
        if _is_run(under):
            for name in names:
                self.titles.setdefault(name, title.strip())


def _continuation(lines: Sequence[str], index: int) -> list[str]:
    """List the lines that continue the definition at `index`: they are indented further."""
    margin = len(lines[index]) - len(lines[index].lstrip(" "))
    end = run_end(lines, index + 1, lambda line: line[: margin + 1].isspace())
    return [line.strip() for line in lines[index + 1 : end]]


def _address(first: str | None, lines: Sequence[str], index: int) -> str:
    text = " ".join([first or "", *_continuation(lines, index)]).strip()
    return text if text.endswith("_") and "/" not in text else "".join(text.split())


def _substitute(match: re.Match[str], lines: Sequence[str], index: int) -> str:
    text = match["text"] or ""
    if match["kind"] == "image":
        return next((line[5:].strip() for line in _continuation(lines, index) if line.startswith(":alt:")), "")
    if match["kind"] == "unicode":
        return "".join(map(_character, text.split(" .. ")[0].split()))
    return match["name"] if match["kind"] == "date" else " ".join([text, *_continuation(lines, index)]).strip()


def _character(word: str) -> str:
    match = _CODE_POINT.fullmatch(word)
    return chr(int(match[1], 16)) if match is not None and int(match[1], 16) < 0x110000 else word


def _is_run(line: str) -> bool:
    return len(line) > 2 and not line[0].isalnum() and line == line[0] * len(line)


class Inline:
    """Converts the text of paragraphs, in their order in the file."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._nested = 0
        self._referred, self._defined = iter(references.unlabelled), iter(references.unlabelled)
        self._by_first: dict[str, Callable[[re.Match[str]], str | None]] = {
            "`": self._ticks,
            ":": lambda match: self._role(match["role"], match["spoken"]),
            "|": self._substitution,
            "[": lambda match: self._note(match["note"], self._referred),
            "\\": lambda match: "" if match["escaped"].isspace() else match["escaped"],
        }

    def convert(self, text: str) -> str:
        if not _MIGHT_HOLD.search(text):
            return text
        parts: list[str] = []
        last = 0
        for match in _MARK.finditer(text):
            before = text[last : match.start()]
            if match[0][0] == "_":
                before, written = self._underscore(before, match)
            else:
                written = self._by_first[match[0][0]](match)
            parts += (before, match[0] if written is None else written)
            last = match.end()
        return "".join([*parts, text[last:]])

    def defined(self, mark: str) -> str:
        """Write the mark before the text of a footnote or citation, numbered as on the page."""
        return self._note(mark, self._defined)

    def _note(self, mark: str, numbers: Iterator[str]) -> str:
        if mark == "#":
            return f"[^{next(numbers, '#')}]"
        if mark[0] == "#":
            return f"[^{self._references.labels.get(mark[1:].lower(), mark[1:])}]"
        return f"[^{mark}]" if mark.isdigit() or mark == "*" else f"[{mark}]"

    def _ticks(self, match: re.Match[str]) -> str:
        if match["literal"] is not None:
            return code_span(match["literal"])
        text = match["text"]
        if match["after"] is not None:
            return self._role(match["after"], text)
        return code_span(_unescaped(text)) if match["link"] is None else self._link(text, match["link"])

    def _link(self, text: str, mark: str) -> str:
        embedded = _EMBEDDED.match(text)
        shown = self._words(embedded["text"].rstrip() if embedded is not None else text)
        if embedded is None:
            names = self._references
            target = (names.anonymous.pop() if names.anonymous else None) if mark == "__" else names.target(text)
        elif (target := embedded["target"]).endswith("_") and "/" not in target:
            target = self._references.target(target[:-1])
        else:
            target = "".join(_unescaped(target).split())
            if not shown:
                return target
            self._references.targets.setdefault(normal(shown), target)
        return link(shown, target) if target else shown

    def _words(self, text: str) -> str:
        """Resolve substitutions and escapes in the text of a link."""
        text = _unescaped(text)
        for name, value in self._references.substitutions.items() if "|" in text else ():
            if f"|{name}|" in text:
                text = text.replace(f"|{name}|", self._nested_convert(value))
        return text

    def _underscore(self, before: str, match: re.Match[str]) -> tuple[str, str | None]:
        """Convert `word_`, whose word is the end of `before`, and ``_`target` ``."""
        if match["target"] is not None:
            return before, match["target"]
        word, names = _WORD.search(before[-82:]), self._references
        if word is None or (match["anonymous"] and not names.anonymous):
            return before, None
        target = names.anonymous.pop() if match["anonymous"] else names.target(word[0])
        if target is None:
            return before, "" if normal(word[0]) in names.titles else None
        return before[: len(before) - len(word[0])], link(word[0], target)

    def _substitution(self, match: re.Match[str]) -> str | None:
        text = self._references.substitutions.get(match["name"])
        if text is None:
            return None
        shown = self._nested_convert(text)
        target = self._references.target(match["name"]) if match["named"] else None
        return link(shown, target) if target else shown

    def _nested_convert(self, text: str) -> str:
        # Two substitutions may hold each other.
        if self._nested > 3:
            return text
        self._nested += 1
        shown = self.convert(text)
        self._nested -= 1
        return shown

    def _role(self, role: str, content: str) -> str:
        name = role.rpartition(":")[2].lower()
        if name == "math":
            return f"${content}$"
        if name in ("code", "literal"):
            return code_span(content)
        if name in ("file", "samp"):
            return code_span(_unescaped(_BRACES.sub("", content)))
        embedded = _EMBEDDED.match(content) if content.endswith(">") else None
        titled = embedded is not None and bool(embedded["text"].strip())
        shown = _unescaped(embedded["text"].rstrip() if embedded is not None and titled else content)
        if name in _NUMBERED:
            return shown if titled else _NUMBERED[name] + shown.split("#")[0]
        if not titled:
            if name == "ref" and (title := self._references.titles.get(normal(shown))) is not None:
                return self._nested_convert(title)
            shown = shown.lstrip("!~") if name in _FORMS else _object_name(name, shown.lstrip("!"))
        return _FORMS[name].format(shown) if name in _FORMS else code_span(shown)


def _object_name(role: str, name: str) -> str:
    """Show the name of an object: only its last part after `~`, functions with parentheses."""
    if name.startswith("~") and name[1:2].isalpha():
        name = name[1:].rpartition(".")[2]
    return f"{name}()" if role in ("func", "meth") and name.isascii() and not name.endswith(")") else name


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: "" if match[1].isspace() else match[1], text) if "\\" in text else text
