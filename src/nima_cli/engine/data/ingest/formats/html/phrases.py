"""The words of an HTML page as Markdown: text, emphasis, code, links, pictures; knows nothing of blocks."""

import re

from selectolax.lexbor import LexborNode

from nima_cli.engine.data.ingest.formats.html.nodes import classes, flow, raw_text

# Phrases inside phrases; what is nested deeper is text alone.
_MAX_DEPTH = 12
_SPACE = re.compile(r"[ \t\r\n\f\u00a0]+")
_UNSEEN = str.maketrans("", "", "\u00ad\u200b\ufeff")
# Text that spells a tag or a comment would be taken for one.
_TAG_LIKE = re.compile(r"(?<![\w`])(?:</?[A-Za-z][^<>`]{0,200}>|<!--[^`]{0,200}-->)(?!`)")
_TICKS = re.compile(r"`+")
# No brace inside of a mark keeps the pattern linear.
_TEMPLATE = re.compile(r"\{(?:\{[^{}]*\}|%[^{}]*%|#[^{}]*#)\}")
_HEADING_LIKE = re.compile(r"#{1,6}(?=\s|$)")
_PERMALINK = frozenset({"", "¶", "#", "§", "🔗", "ⓘ", "permalink"})
_UNFIT = re.compile(r"[<>\r\n]")
_NO_TARGET = ("#", "javascript:", "data:")


def phrase(parent: LexborNode, depth: int = 0) -> str:
    """What `parent` says, on one line but for `<br>`, with its white space joined."""
    if depth > _MAX_DEPTH:
        return _joined(raw_text(parent))
    return "".join(" " if node is None else span(node, depth) for node in flow(parent))


def span(node: LexborNode, depth: int = 0) -> str:
    """Text, or an element among text."""
    tag = node.tag or ""
    if tag == "-text":
        return _plain(node.text_content or "")
    if tag == "br":
        return "\n"
    if tag in ("b", "strong", "i", "em", "cite", "var", "dfn"):
        return _marked(phrase(node, depth + 1), "**" if tag in ("b", "strong") else "*")
    if tag in ("code", "kbd", "samp", "tt"):
        return _code(_joined(raw_text(node)))
    if tag == "a":
        return _link(node, depth)
    if tag == "img":
        return _image(node)
    if tag == "math":
        return _math(node)
    inner = phrase(node, depth + 1)
    return {"q": f'"{inner}"', "sup": _raised(inner)}.get(tag, inner)


def paragraph(text: str) -> str:
    """What `span` made of a run of text, as a paragraph; empty if it is mostly marks of a template."""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lines = [_HEADING_LIKE.sub(r"\\\g<0>", line) if line.startswith("#") else line for line in lines if line]
    joined = "\n".join(lines)
    if "{" in joined and 2 * len(_TEMPLATE.sub("", joined).strip()) < len(joined):
        return ""
    return joined


def holds_template(text: str) -> bool:
    """Whether a template has still to fill in something."""
    return "{" in text and _TEMPLATE.search(text) is not None


def _joined(text: str) -> str:
    return _SPACE.sub(" ", text)


def _plain(text: str) -> str:
    text = _joined(text.translate(_UNSEEN))
    return _TAG_LIKE.sub(r"`\g<0>`", text) if "<" in text else text


def _marked(text: str, mark: str) -> str:
    """`text` between marks, with the white space around it outside of them."""
    inner = text.strip()
    if not inner or inner.startswith(mark) or "\n" in inner:
        return text
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{before}{mark}{inner}{mark}{after}"


def _code(text: str) -> str:
    inner = text.strip()
    if not inner:
        return text
    ticks = "`" * (max((len(run) for run in _TICKS.findall(inner)), default=0) + 1)
    room = " " if inner[0] == "`" or inner[-1] == "`" else ""
    return f"{ticks}{room}{inner}{room}{ticks}"


def _link(node: LexborNode, depth: int) -> str:
    text = phrase(node, depth + 1)
    inner = " ".join(text.split())
    target = (node.attributes.get("href") or "").strip()
    if target.startswith("#") and inner.lower() in _PERMALINK:
        return ""
    if not inner or not target or target.lower().startswith(_NO_TARGET) or holds_template(target):
        return text
    if inner.startswith("![") or target in (inner, f"mailto:{inner}"):
        return inner
    if re.search(r"[\s()<>]", target):
        target = f"<{_UNFIT.sub('', target)}>"
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{before}[{inner}]({target}){after}"


def _image(node: LexborNode) -> str:
    """A picture by its words; one without words says nothing."""
    attributes = node.attributes
    words = _plain(" ".join((attributes.get("alt") or "").split()))
    source = (attributes.get("src") or "").strip()
    if not words or not source or source.lower().startswith("data:") or holds_template(source):
        return words
    if "emoji" in classes(node) or re.search(r"[\s()<>]", source):
        return words
    return f"![{words}]({source})"


def _math(node: LexborNode) -> str:
    """A formula as TeX where the page gives it, else its signs."""
    for note in node.css("annotation"):
        if "tex" in (note.attributes.get("encoding") or ""):
            return f"${_joined(raw_text(note)).strip()}$"
    return _joined(raw_text(node))


def _raised(text: str) -> str:
    return f"^{text}" if re.fullmatch(r"[+-]?\w{1,4}", text) else text
