"""HTML pages to Markdown: what a page says, by its headings, lists, tables and code, without the frame around it.

The parser is Lexbor, which reads broken pages as browsers do. `*` and `_` in text are not escaped: what is learnt is
read by eyes and not by a renderer.
"""

import json
import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.ingest.formats.html.nodes import BLOCKS, children, flow, language, raw_text
from nima_cli.engine.data.ingest.formats.html.phrases import holds_template, paragraph, phrase, span
from nima_cli.engine.data.ingest.formats.html.tables import table
from nima_cli.engine.data.ingest.formats.writing import code_block

# Blocks inside blocks; what is nested deeper is text alone.
_MAX_DEPTH = 24
# The parser walks up the open elements at every tag; browsers stop at 512 too.
_MAX_OPEN = 512
_TAGS = re.compile(r"<(?:(/)|(?=[A-Za-z]))([A-Za-z][A-Za-z0-9]*)[^<>]*>")
# Need no end, or none of their own.
_ENDLESS = frozenset({
    "p", "li", "td", "th", "tr", "dt", "dd", "option", "thead", "tbody", "tfoot", "colgroup", "area", "base", "br",
    "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"
})  # fmt: skip
# Characters of a term; what is longer is no name of something.
_LONG = 100
_MAIN = "main, [role=main]"
_JSON_COMMENT = re.compile(r"\s*<!--(\{.{0,5000}?\})-->", re.DOTALL)
_LIST_LIKE = re.compile(r"(?:-|\d+\.) ")


def html_to_markdown(html: str) -> str:
    """The content of a page as Markdown, empty if it says nothing.

    Its title becomes a level-1 heading when it has none of its own; so does that of front matter before the page.
    """
    html = html.replace("\r\n", "\n").replace("\r", "\n")
    title, html = _metadata(html)
    page = LexborHTMLParser(_shallow(html))
    root = _content(page)
    blocks = _blocks(root, 0) if root is not None else []
    while blocks and blocks[0] == "---":
        del blocks[0]
    head = page.css_first("head > title") if not title else None
    title = title or (" ".join(raw_text(head).split()) if head is not None else "")
    if blocks and title and not holds_template(title) and not any(block.startswith("# ") for block in blocks):
        blocks.insert(0, f"# {title}")
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _metadata(html: str) -> tuple[str, str]:
    """The title in YAML, TOML or a comment of JSON before the page, and the page itself."""
    front = read_front_matter(html)
    if front is not None:
        return front.title, "\n".join(html.split("\n")[front.lines :])
    comment = _JSON_COMMENT.match(html)
    if comment is not None:
        try:
            found = {key.lower(): value for key, value in json.loads(comment[1]).items()}.get("title")
        except (ValueError, RecursionError):
            found = None
        return (" ".join(found.split()) if isinstance(found, str) else ""), html[comment.end() :]
    return "", html


def _shallow(html: str) -> str:
    """`html` without the tags that are nested too deeply; what is between them stays."""
    if html.count("<") <= _MAX_OPEN:
        return html
    opened, last = 0, 0
    parts: list[str] = []
    for tag in _TAGS.finditer(html):
        if tag[2].lower() in _ENDLESS:
            continue
        opened += 0 if tag[1] else 1
        if opened > _MAX_OPEN:
            parts.append(html[last : tag.start()])
            last = tag.end()
        opened = max(opened - 1, 0) if tag[1] else opened
    return "".join([*parts, html[last:]]) if parts else html


def _content(page: LexborHTMLParser) -> LexborNode | None:
    """The element that holds what a page says: the main one, a single article, or all of it."""
    for chosen in (page.css(_MAIN)[:1], page.css("article")):
        if len(chosen) == 1 and raw_text(chosen[0]).strip():
            return chosen[0]
    return page.body


def _blocks(parent: LexborNode, depth: int) -> list[str]:
    """The Markdown of what `parent` holds, block by block."""
    if depth > _MAX_DEPTH:
        text = paragraph(phrase(parent))
        return [text] if text else []
    found: list[str] = []
    run: list[str] = []
    for node in (*flow(parent), None):
        if node is not None and node.tag not in BLOCKS:
            run.append(span(node))
            continue
        if run and (text := paragraph("".join(run))):
            found.append(text)
        run.clear()
        if node is not None:
            found += _block(node, depth)
    return found


def _block(node: LexborNode, depth: int) -> list[str]:
    tag = node.tag or ""
    if tag[0] == "h" and tag[1:].isdigit():
        return _heading(node, int(tag[1]))
    if tag in ("pre", "listing", "xmp"):
        return _fence(node)
    if tag in ("ul", "ol", "menu", "dir"):
        return _list(node, depth)
    if tag == "blockquote":
        lines = "\n\n".join(_blocks(node, depth + 1)).split("\n")
        return ["\n".join(f"> {line}".rstrip() for line in lines)] if any(lines) else []
    if tag == "table":
        return table(node, lambda inner: _blocks(inner, depth + 1))
    if tag in ("dt", "summary"):
        return _term(node)
    return ["---"]


def _heading(node: LexborNode, level: int) -> list[str]:
    text = " ".join(phrase(node).split())
    if text.startswith("**") and text.endswith("**") and text.count("**") == 2:
        text = text[2:-2]
    return [f"{'#' * level} {text}"] if paragraph(text) else []


def _term(node: LexborNode) -> list[str]:
    """What a definition or a fold is about, in bold; code, links and sentences speak for themselves."""
    text = " ".join(phrase(node).split())
    plain = len(text) > _LONG or any(mark in text for mark in ("**", "`", "]("))
    return [text if plain else f"**{text}**"] if text else []


def _fence(node: LexborNode) -> list[str]:
    code = raw_text(node).strip("\n").rstrip()
    if not code:
        return []
    return [code_block(code, language(node))]


def _list(node: LexborNode, depth: int) -> list[str]:
    start = node.attributes.get("start") or ""
    number = int(start) if start.isascii() and start.isdigit() and len(start) < 9 else 1
    mark = "- "
    items: list[str] = []
    for child in children(node):
        if child.tag == "li":
            mark = f"{number + len(items)}. " if node.tag == "ol" else "- "
            if held := _blocks(child, depth + 1):
                items.append(_item(mark, held))
        elif child.tag in ("ul", "ol") and (held := _list(child, depth + 1)):
            items[-1:] = ["\n".join([*items[-1:], _indented(held[0], len(mark) if items else 0)])]
    loose = any("\n\n" in item for item in items)
    return [("\n\n" if loose else "\n").join(items)] if items else []


def _item(mark: str, held: list[str]) -> str:
    text = held[0]
    for block in held[1:]:
        text += ("\n" if _LIST_LIKE.match(block) and "\n\n" not in block else "\n\n") + block
    return mark + _indented(text, len(mark)).lstrip(" ")


def _indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line else "" for line in text.split("\n"))
