"""Sorts the elements of a parsed HTML page into content and the frame around it, and writes words as Markdown."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborNode

from nima_cli.engine.data.ingest.formats.code import LANGUAGES
from nima_cli.engine.data.ingest.formats.writing import code_span, link

# Never content.
_DROPPED = frozenset({
    "script", "style", "noscript", "template", "svg", "nav", "footer", "button", "input", "select", "textarea",
    "option", "label", "iframe", "object", "embed", "canvas", "dialog", "audio", "video", "source", "track", "map",
    "area", "head", "title", "meta", "link", "base", "rp", "rt", "noframes", "frameset", "progress", "meter"
})  # fmt: skip
# Only group what they hold.
CONTAINERS = frozenset({
    "div", "p", "section", "article", "main", "body", "html", "form", "center", "address", "figure", "figcaption",
    "details", "fieldset", "legend", "hgroup", "search", "dl", "dd", "li", "td", "th", "tr", "tbody", "thead",
    "tfoot", "caption", "picture", "header", "aside"
})  # fmt: skip
# Blocks that become Markdown of their own.
BLOCKS = frozenset({
    "h1", "h2", "h3", "h4", "h5", "h6", "pre", "ul", "ol", "menu", "dir", "blockquote", "table", "dt", "summary",
    "hr", "listing", "xmp"
})  # fmt: skip
# Mark up words.
PHRASES = frozenset({
    "a", "b", "strong", "i", "em", "cite", "var", "dfn", "code", "kbd", "samp", "tt", "img", "br", "q", "sup", "math"
})  # fmt: skip
_ROLES = frozenset({"navigation", "search", "banner", "contentinfo"})
_CHROME = frozenset({
    "headerlink", "toc", "toctree", "sphinxsidebar", "sidebar", "breadcrumb", "breadcrumbs", "linenos", "lineno",
    "skip-link", "copybtn"
})  # fmt: skip
_NOTES = frozenset({
    "note", "warning", "tip", "important", "caution", "danger", "info", "hint", "admonition", "callout", "alert",
    "notice"
})  # fmt: skip
_LINE_NUMBERS = frozenset({
    "lineno", "linenos", "linenumber", "line-number", "line-numbers", "ln", "gutter", "copybtn"
})  # fmt: skip
_LANGUAGE = re.compile(r"(?:language-|lang-|highlight-(?:source-|text-)?)([A-Za-z0-9+#._-]{1,20})")
_BRUSH = re.compile(r"(?:\bbrush:\s*|\bsource(?:Code)?\s+)([A-Za-z0-9+#._-]{1,20})")
_KNOWN = frozenset(LANGUAGES.values())
_SPELLED = {
    **dict.fromkeys(("none", "default", "text", "plaintext", "plain", "notranslate", "txt"), ""),
    **dict.fromkeys(("python3", "ipython3", "ipython"), "python"),
    "shell-session": "console",
}
# Elements that are searched for blocks in a phrase.
_LOOK = 200


def children(node: LexborNode) -> list[LexborNode]:
    found = []
    child = node.child
    while child is not None:
        found.append(child)
        child = child.next
    return found


def flow(parent: LexborNode) -> Iterator[LexborNode | None]:
    """Yield the text, phrases and blocks below `parent`, and None where a container begins or ends.

    Containers are opened, however deeply they are nested, and the frame of the page is left out.
    """
    waiting: list[LexborNode | None] = [*reversed(children(parent))]
    while waiting:
        node = waiting.pop()
        tag = node.tag if node is not None else None
        if node is None or tag == "-text" or tag == "br":
            yield node
        elif tag is None or tag.startswith("-") or tag in _DROPPED or _is_chrome(node, tag):
            continue
        elif tag == "header":
            waiting += [None, *reversed(node.css("h1,h2,h3,h4,h5,h6")), None]
        elif tag in CONTAINERS or (tag in PHRASES and _holds_block(node)):
            waiting += [None, *reversed(children(node)), None]
        elif tag in BLOCKS or tag in PHRASES:
            yield node
        else:
            waiting += reversed(children(node))


def classes(node: LexborNode) -> list[str]:
    return (node.attributes.get("class") or "").split()


def _is_chrome(node: LexborNode, tag: str) -> bool:
    """Tell whether an element belongs to the frame of a page."""
    attributes = node.attributes
    if not attributes:
        return tag == "aside"
    words = (attributes.get("class") or "").lower().split()
    hidden = "hidden" in attributes or (attributes.get("aria-hidden") == "true" and tag not in ("br", "img"))
    if hidden or attributes.get("role") in _ROLES or not _CHROME.isdisjoint(words):
        return True
    return tag == "aside" and not any(word.rpartition("-")[2] in _NOTES or word in _NOTES for word in words)


def _holds_block(node: LexborNode) -> bool:
    """Tell whether one of the first elements below is a block or a container."""
    waiting, seen = [node.child], 0
    while waiting and seen < _LOOK:
        if (inner := waiting.pop()) is not None:
            seen += 1
            if inner.tag in BLOCKS or inner.tag in CONTAINERS:
                return True
            waiting += [inner.next, inner.child]
    return False


def raw_text(node: LexborNode) -> str:
    """Return text as it is written, without line numbers."""
    parts: list[str] = []
    waiting = children(node)[::-1]
    while waiting:
        inner = waiting.pop()
        tag = inner.tag
        if tag == "-text":
            parts.append(inner.text_content or "")
        elif tag == "br":
            parts.append("\n")
        elif tag not in _DROPPED and _LINE_NUMBERS.isdisjoint(classes(inner)):
            if tag in ("div", "p", "li", "tr") and parts and not parts[-1].endswith("\n"):
                parts.append("\n")
            waiting += reversed(children(inner))
    return "".join(parts).replace("\u00a0", " ").replace("\u200b", "").replace("\ufeff", "")


def language(pre: LexborNode) -> str:
    """Find the language of code in the attributes of `pre`, the `code` in it or the two elements around it."""
    inner = pre.child if pre.child is not None and pre.child.tag == "code" else None
    for node in (pre, inner, pre.parent, pre.parent.parent if pre.parent is not None else None):
        if node is None or node.tag in ("body", "html"):
            continue
        attributes = node.attributes
        words = attributes.get("class") or ""
        found = _LANGUAGE.search(words) or _BRUSH.search(words)
        alone = next((word for word in words.lower().split() if word in _KNOWN), "") if node is pre else ""
        named = attributes.get("data-lang") or attributes.get("data-language") or (found[1] if found else alone)
        if name := named.lower():
            return _SPELLED.get(name, name) if re.fullmatch(r"[a-z0-9+#._-]{1,20}", name) else ""
    return ""


# Deeper phrases are plain text.
_MAX_DEPTH = 12
_SPACE = re.compile(r"[ \t\r\n\f\u00a0]+")
_UNSEEN = str.maketrans("", "", "\u00ad\u200b\ufeff")
# Text that spells a tag or a comment would be taken for one.
_TAG_LIKE = re.compile(r"(?<![\w`])(?:</?[A-Za-z][^<>`]{0,200}>|<!--[^`]{0,200}-->)(?!`)")
# A mark holds no brace, which keeps the search linear.
_TEMPLATE = re.compile(r"\{(?:\{[^{}]*\}|%[^{}]*%|#[^{}]*#)\}")
_HEADING_LIKE = re.compile(r"#{1,6}(?=\s|$)")
_PERMALINK = frozenset({"", "¶", "#", "§", "🔗", "ⓘ", "permalink"})
# In the address of a picture.
_UNFIT = re.compile(r"[\s()<>]")
_NO_ADDRESS = str.maketrans("", "", "<>\r\n")
_SHORT = re.compile(r"[+-]?\w{1,4}")
_EMPHASIS = {**dict.fromkeys(("b", "strong"), "**"), **dict.fromkeys(("i", "em", "cite", "var", "dfn"), "*")}
_NO_TARGET = ("#", "javascript:", "data:")


def phrase(parent: LexborNode, depth: int = 0) -> str:
    """Write the words of `parent` on one line but for `<br>`, with their white space collapsed."""
    if depth > _MAX_DEPTH:
        return _collapsed(raw_text(parent))
    return "".join(" " if node is None else span(node, depth) for node in flow(parent))


def span(node: LexborNode, depth: int = 0) -> str:
    tag = node.tag or ""
    if tag == "-text":
        return _plain(node.text_content or "")
    if tag == "br":
        return "\n"
    if tag in ("code", "kbd", "samp", "tt"):
        text = _collapsed(raw_text(node))
        return code_span(text.strip()) or text
    if tag == "img":
        return _image(node)
    if tag == "math":
        return _math(node)
    inner = phrase(node, depth + 1)
    if tag == "a":
        return _link(node, inner)
    if tag == "sup":
        return f"^{inner}" if _SHORT.fullmatch(inner) else inner
    return f'"{inner}"' if tag == "q" else _emphasis(inner, _EMPHASIS[tag]) if tag in _EMPHASIS else inner


def paragraph(text: str) -> str:
    """Tidy a run of spans into a paragraph; empty if it is mostly marks of a template."""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    joined = "\n".join(f"\\{line}" if line[0] == "#" and _HEADING_LIKE.match(line) else line for line in lines if line)
    if "{" in joined and 2 * len(_TEMPLATE.sub("", joined).strip()) < len(joined):
        return ""
    return joined


def holds_template(text: str) -> bool:
    return "{" in text and _TEMPLATE.search(text) is not None


def _collapsed(text: str) -> str:
    return _SPACE.sub(" ", text)


def _plain(text: str) -> str:
    text = _collapsed(text.translate(_UNSEEN))
    return _TAG_LIKE.sub(r"`\g<0>`", text) if "<" in text else text


def _within(text: str, inner: str) -> str:
    return f"{text[: len(text) - len(text.lstrip())]}{inner}{text[len(text.rstrip()) :]}"


def _emphasis(text: str, mark: str) -> str:
    inner = text.strip()
    return text if not inner or inner.startswith(mark) or "\n" in inner else _within(text, f"{mark}{inner}{mark}")


def _link(node: LexborNode, text: str) -> str:
    inner = " ".join(text.split())
    target = (node.attributes.get("href") or "").strip()
    if target.startswith("#") and inner.lower() in _PERMALINK:
        return ""
    if not inner or not target or target.lower().startswith(_NO_TARGET) or holds_template(target):
        return text
    if inner.startswith("![") or target in (inner, f"mailto:{inner}"):
        return inner
    return _within(text, link(inner, target.translate(_NO_ADDRESS)))


def _image(node: LexborNode) -> str:
    attributes = node.attributes
    words = _plain(" ".join((attributes.get("alt") or "").split()))
    source = (attributes.get("src") or "").strip()
    shown = words and source and not source.lower().startswith("data:") and not holds_template(source)
    return words if not shown or "emoji" in classes(node) or _UNFIT.search(source) else f"![{words}]({source})"


def _math(node: LexborNode) -> str:
    """Write a formula as TeX where the page has it, else its signs."""
    for note in node.css("annotation"):
        if "tex" in (note.attributes.get("encoding") or ""):
            return f"${_collapsed(raw_text(note)).strip()}$"
    return _collapsed(raw_text(node))
