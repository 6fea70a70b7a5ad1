"""Turns the words of an HTML page into Markdown: text, emphasis, code, links, pictures."""

import re

from selectolax.lexbor import LexborNode

from nima_cli.engine.data.ingest.formats.html.nodes import classes, flow, raw_text
from nima_cli.engine.data.ingest.formats.writing import code_span, link

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
    """Write text, or an element among text."""
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
    """Tell whether a text holds marks of a template."""
    return "{" in text and _TEMPLATE.search(text) is not None


def _collapsed(text: str) -> str:
    return _SPACE.sub(" ", text)


def _plain(text: str) -> str:
    text = _collapsed(text.translate(_UNSEEN))
    return _TAG_LIKE.sub(r"`\g<0>`", text) if "<" in text else text


def _within(text: str, inner: str) -> str:
    """Put the white space around `text` around `inner`."""
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
    """Write a picture that has words."""
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
