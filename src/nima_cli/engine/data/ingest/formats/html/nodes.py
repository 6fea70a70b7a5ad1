"""Sorts the elements of a parsed HTML page into content, code, and the frame around it."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborNode

from nima_cli.engine.data.ingest.formats.code import LANGUAGES

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
    """List the nodes directly below."""
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
    """List the words of the class attribute."""
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
