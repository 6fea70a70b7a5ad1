"""Inline markup of reStructuredText as Markdown: roles, literals, references, substitutions, escapes."""

import re
from collections.abc import Callable, Iterator

from nima_cli.engine.data.ingest.formats.rst.references import References, normal
from nima_cli.engine.data.ingest.formats.writing import code_span, link

_ROLE = r"[A-Za-z][\w.+-]{0,60}(?::[A-Za-z][\w.+-]{0,60}){0,3}"
# Every alternative begins with a character of its own: that is what makes the search fast. No part can begin inside
# itself, which keeps it linear.
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

# Roles whose words a page shows as they are; those of Sphinx's domains and all others show code.
_PLAIN = (
    *("abbr", "abbreviation", "ac", "any", "cite", "dfn", "doc", "download", "eq", "guilabel", "menuselection"),
    *("numref", "ref", "source", "sub", "subscript", "sup", "superscript", "term", "ticket", "title", "user"),
    *("title-reference", "t", "manpage"),
)
_FORMS = {**dict.fromkeys(_PLAIN, "{}"), "emphasis": "*{}*", "strong": "**{}**"}
_NUMBERED = {"pep": "PEP ", "rfc": "RFC ", "issue": "bpo-", "gh": "gh-", "bpo": "bpo-", "cve": "CVE ", "cwe": "CWE "}


class Inline:
    """Turns the text of paragraphs into Markdown, in the order in which they stand in the file."""

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
        """`text`, which may be of several lines, in Markdown."""
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
        parts.append(text[last:])
        return "".join(parts)

    def defined(self, mark: str) -> str:
        """The mark of a footnote or citation where its text stands, numbered as on the page."""
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
            target = self._anonymous() if mark == "__" else self._references.target(text)
        elif (target := embedded["target"]).endswith("_") and "/" not in target:
            target = self._references.target(target[:-1])
        else:
            target = "".join(_unescaped(target).split())
            if not shown:
                return target
            self._references.targets.setdefault(normal(shown), target)
        return link(shown, target) if target else shown

    def _words(self, text: str) -> str:
        """The text of a link: substitutions and escapes may stand in it."""
        text = _unescaped(text)
        for name, value in self._references.substitutions.items() if "|" in text else ():
            if f"|{name}|" in text:
                text = text.replace(f"|{name}|", self._nested_convert(value))
        return text

    def _anonymous(self) -> str | None:
        return self._references.anonymous.pop() if self._references.anonymous else None

    def _underscore(self, before: str, match: re.Match[str]) -> tuple[str, str | None]:
        """`word_` and ``_`target` ``; the word stands in what came before."""
        if match["target"] is not None:
            return before, match["target"]
        word = _WORD.search(before[-82:])
        if word is None or (match["anonymous"] and not self._references.anonymous):
            return before, None
        target = self._anonymous() if match["anonymous"] else self._references.target(word[0])
        if target is None:
            return before, "" if normal(word[0]) in self._references.titles else None
        return before[: len(before) - len(word[0])], link(word[0], target)

    def _substitution(self, match: re.Match[str]) -> str | None:
        text = self._references.substitutions.get(match["name"])
        if text is None:
            return None
        shown = self._nested_convert(text)
        target = self._references.target(match["name"]) if match["named"] else None
        return link(shown, target) if target else shown

    def _nested_convert(self, text: str) -> str:
        # A substitution may hold another, and two of them each other.
        if self._nested > 3:
            return text
        self._nested += 1
        try:
            return self.convert(text)
        finally:
            self._nested -= 1

    def _role(self, role: str, content: str) -> str:
        """What a page shows for a role and its content."""
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
    """The name of something in a program: `~` leaves its last part, functions have parentheses."""
    if name.startswith("~") and name[1:2].isalpha():
        name = name[1:].rpartition(".")[2]
    return f"{name}()" if role in ("func", "meth") and name.isascii() and not name.endswith(")") else name


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: "" if match[1].isspace() else match[1], text) if "\\" in text else text
