"""Turns inline markup of AsciiDoc into Markdown."""

import re
from collections import ChainMap

from nima_cli.engine.data.ingest.formats.writing import code_span, link

_MARK = re.compile(
    r"""\+\+\+(?P<passed>[^+]{1,2000})\+\+\+
    |`(?<![\w`]`)\+(?P<literal>[^`\n]{1,500}?)\+`(?![\w`])
    |``(?P<mono2>[^`]{1,1000})``
    |`(?<![\w`"'\\]`)(?=\S)(?P<mono>(?:[^`\n]|\n(?!\n)){1,1000}(?<!\s))`(?![\w`"'])
    |"`(?P<double>[^`]{1,1000})`"
    |'`(?P<single>[^`]{1,1000})`'
    |\*\*(?=\S)(?P<strong2>[^*]{1,1000})\*\*
    |\*(?<![\w*\\]\*)(?=[^\s*])(?P<strong>[^*]{1,1000}(?<!\s))\*(?![\w*])
    |__(?=\S)(?P<em2>[^_]{1,1000})__
    |_(?<![\w_\\]_)(?=[^\s_])(?P<em>(?:[^_]|(?<=\w)_(?=\w)){1,1000}(?<!\s))_(?!\w)
    |\#\#(?P<mark2>[^\#]{1,1000})\#\#
    |\#(?<![\w&#\\]\#)(?=[^\s\#])(?P<mark>[^\#]{1,1000}(?<!\s))\#(?!\w)
    |\^(?=\S)(?P<sup>[^^\s]{1,100})\^
    |<<(?P<ref>[^<>,]{1,300})(?:,(?P<reftext>[^<>]{0,500}))?>>
    |\[\[(?P<anchor>[^\[\]]{1,300})\]\]
    |\(\(\((?P<hidden>[^()]{1,300})\)\)\)
    |\(\((?P<indexed>[^()]{1,300})\)\)
    |\{(?P<name>[A-Za-z0-9_][\w-]{0,60})\}
    |\\(?P<escaped>[*_`\#{<\[^~+])""",
    re.VERBOSE,
)
# Macros begin with a word, and are found by their bracket, which is rare.
_MACRO = re.compile(
    r"(?<!\\)\b(?P<macro>link|xref|image|icon|kbd|btn|menu|footnote|footnoteref|stem|latexmath|asciimath|pass|mailto|anchor"
    r"|indexterm2?|https?|ftp|irc)(?P<colon>::?)(?P<target>[^\s\[\]]{0,1000})"
    r"\[(?P<text>(?:[^\[\]\\\n]|\\.|\[[^\[\]\n]{0,100}\]|\n(?!\n)){0,1000})\]"
)
# A link whose address begins with an attribute of another file.
_UNKNOWN_LINK = re.compile(r"\{[a-z][\w-]{0,60}\}[^\s\[\]{}]{0,300}\[([^\[\]\n]{1,300})\]")
_ATTRIBUTE = re.compile(r"(?<!\\)\{([A-Za-z0-9_][\w-]{0,60})\}")
_NO_MARK = re.compile(r"[*_`#^<\[({\\+]")
_ROLE = re.compile(r"\[[.#%\w-][^\[\]\n]{0,60}\](?=[#*_`])")
_BUILT_IN = {
    "empty": "", "blank": "", "sp": " ", "nbsp": " ", "zwsp": "", "wj": "", "apos": "'", "quot": '"', "lsquo": "‘",
    "rsquo": "’", "ldquo": "“", "rdquo": "”", "deg": "°", "plus": "+", "brvbar": "¦", "vbar": "|", "amp": "&",
    "lt": "<", "gt": ">", "startsb": "[", "endsb": "]", "caret": "^", "asterisk": "*", "tilde": "~",
    "backslash": "\\", "backtick": "`", "two-colons": "::", "two-semicolons": ";;", "cpp": "C++", "pp": "++",
}  # fmt: skip
_FORMS = {
    "double": "“{}”", "single": "‘{}’", "strong2": "**{}**", "strong": "**{}**", "em2": "*{}*", "em": "*{}*",
    "mark2": "{}", "mark": "{}", "sup": "^{}^", "indexed": "{}",
}  # fmt: skip


class Inline:
    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}  # the values of `{name}`
        self.titles: dict[str, str] = {}  # of sections and blocks, by their anchors
        self._depth = 0

    def convert(self, text: str) -> str:
        if "{" in text:
            text = _UNKNOWN_LINK.sub(lambda match: match[1].rstrip("^"), self.resolved(text))
        return self._around_macros(text) if "[" in text and ":" in text else self._marks(text)

    def resolved(self, text: str) -> str:
        """Replace the known attributes, whose values may hold others."""
        known = ChainMap(self.attributes, _BUILT_IN)
        for _ in range(4):
            before = text
            text = _ATTRIBUTE.sub(lambda match: known.get(match[1].lower(), match[0]), text)
            if text == before or len(text) > 10 * len(before) + 1000:
                break
        return text

    def _around_macros(self, text: str) -> str:
        kept: list[str] = []

        def put_away(match: re.Match[str]) -> str:
            kept.append(self._macro(match))
            return f"\x02{len(kept) - 1}\x03"

        rest = _MACRO.sub(put_away, text) if "\x02" not in text else text
        # Marks may stand around a macro.
        return re.sub(r"\x02(\d{1,6})\x03", lambda held: kept[int(held[1])] if kept else held[0], self._marks(rest))

    def _marks(self, text: str) -> str:
        if not _NO_MARK.search(text):
            return text
        return _MARK.sub(self._mark, _ROLE.sub("", text) if "[" in text else text)

    def _mark(self, match: re.Match[str]) -> str:
        kind = match.lastgroup or ""
        if kind in _FORMS:
            return _FORMS[kind].format(self._inner(match[kind]))
        if kind in ("mono", "mono2", "literal"):
            text = match[kind]
            unformatted = kind != "literal" and len(text) > 2 and text[0] == text[-1] == "+"
            return code_span(text[1:-1] if unformatted else text)
        if kind in ("ref", "reftext"):
            return (match["reftext"] or "").strip() or self._titled(match["ref"].strip())
        if kind in ("passed", "escaped"):
            return str(match[kind])
        return match[0] if kind == "name" else ""

    def _inner(self, text: str) -> str:
        if self._depth > 3:
            return text
        self._depth += 1
        shown = self._marks(text)
        self._depth -= 1
        return shown

    def _titled(self, anchor: str) -> str:
        """Find the title that a cross reference leads to, else its name."""
        name = anchor.rpartition("#")[2] or anchor
        return self.titles.get(name, name)

    def _macro(self, match: re.Match[str]) -> str:
        name, target, text = match["macro"], match["target"], match["text"].replace("\\]", "]")
        shown = self._inner(_first(text))
        if name in ("http", "https", "ftp", "irc"):
            address = f"{name}:{match['colon'][1:]}{target}".replace("\\", "")
            return link(shown.rstrip("^") or address, address)
        if name == "link":
            return link(shown.rstrip("^") or target, target.removeprefix("++").removesuffix("++"))
        if name in ("mailto", "xref"):
            return shown or (target if name == "mailto" else self._titled(target))
        if name in ("image", "icon"):
            alt = re.search(r'\balt="?([^",]+)', text)
            return alt[1] if alt is not None else "" if "=" in shown else shown.split(",")[0]
        if name == "menu":
            return " > ".join(part.strip() for part in (target, *text.split(">")) if part.strip())
        if name == "kbd":
            return code_span(text)
        if name in ("stem", "latexmath", "asciimath"):
            return f"${text}$"
        if name in ("footnote", "footnoteref"):
            return f" ({self._inner(text)})" if text else ""
        return {"anchor": "", "indexterm": "", "pass": text}.get(name, shown)


def _first(text: str) -> str:
    """Find the text among the attributes of a macro."""
    if text[:1] == '"' and (end := text.find('"', 1)) > 0:
        return text[1:end]
    return re.split(r",\s*(?:[a-z-]+=|$)", text, maxsplit=1)[0] if "=" in text else text
