"""Turns HTML pages into Markdown without their frame; the parser, Lexbor, reads broken pages as browsers do."""

import codecs
import json
import re
import textwrap
from itertools import dropwhile

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.encoding import decode
from nima_cli.engine.data.ingest.formats.html import nodes
from nima_cli.engine.data.ingest.formats.writing import code_block, indented, quoted, table

_DECLARED = re.compile(
    rb"""(?:\bcharset\s*=\s*|<\?xml[^>]{0,100}\bencoding\s*=\s*)["']?\s*([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE
)
_HINT = "name the encoding it is really in: `data.encoding`"
# Bytes in which a page declares its encoding.
_HEAD = 4096
# Browsers read these encodings as their supersets.
_SUPERSETS = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "x-sjis": "cp932", "euc-kr": "cp949",
    "iso-8859-9": "cp1254", "tis-620": "cp874",
}  # fmt: skip
# Deeper blocks are plain text.
_MAX_DEPTH = 24
# The parser walks up the open elements at every tag; browsers stop at 512 too.
_MAX_OPEN = 512
_TAGS = re.compile(r"<(?:(/)|(?=[A-Za-z]))([A-Za-z][A-Za-z0-9]*)[^<>]*>")
# Elements that nobody has to close.
_ENDLESS = frozenset({
    "p", "li", "td", "th", "tr", "dt", "dd", "option", "thead", "tbody", "tfoot", "colgroup", "area", "base", "br",
    "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"
})  # fmt: skip
# Characters of a term; longer ones are sentences.
_LONG = 100
_MAX_SPAN = 100
_JSON_COMMENT = re.compile(r"\s*<!--(\{.{0,5000}?\})-->", re.DOTALL)
_LIST_LIKE = re.compile(r"(?:-|\d+\.) ")


def html_bytes_to_markdown(data: bytes, encoding: str | None) -> str:
    """Convert a page in UTF-8, whatever it declares, else in the encoding that it declares, else in `encoding`.

    Raises UnusableError if it is in none of them.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return html_to_markdown(_decoded(data, "utf-16"))
    try:
        text = decode(data)
    except UnusableError as error:
        if error.reason != "not_utf8":
            raise
        other = _declared(data) or encoding
        if other is None:
            raise UnusableError(error.what, error.reason, hint=_HINT) from error
        text = _decoded(data, other)
    return html_to_markdown(text)


def _declared(data: bytes) -> str | None:
    found = _DECLARED.search(data, 0, _HEAD)
    name = found[1].decode("ascii").lower() if found else ""
    try:
        name = codecs.lookup(_SUPERSETS.get(name, name)).name
        b"x".decode(name)
    except (LookupError, ValueError):
        return None
    return None if "utf" in name else name


def _decoded(data: bytes, encoding: str) -> str:
    try:
        # Browsers show nothing for the five bytes that cp1252 leaves undefined.
        return data.decode(encoding, "ignore" if encoding == "cp1252" else "strict")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        what = f"byte 0x{data[error.start]:02x} at offset {error.start} (line {line}) is not {encoding.upper()}"
        raise UnusableError(what, "not_utf8", hint=_HINT) from error


def html_to_markdown(html: str) -> str:
    """Convert the content of a page.

    A page without a level-1 heading gets the title of its front matter or its `<title>` as one. `*` and `_` are not
    escaped: models learn what people read, not what renderers need.
    """
    html = html.replace("\r\n", "\n").replace("\r", "\n")
    title, html = _metadata(html)
    page = LexborHTMLParser(_shallow(html))
    root = _content(page)
    blocks = [*dropwhile("---".__eq__, _blocks(root, 0))] if root is not None else []
    head = page.css_first("head > title")
    title = title or (" ".join(nodes.raw_text(head).split()) if head is not None else "")
    if blocks and title and not nodes.holds_template(title) and not any(block.startswith("# ") for block in blocks):
        blocks.insert(0, f"# {title}")
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _metadata(html: str) -> tuple[str, str]:
    """Split a page from the title in YAML, TOML or a comment of JSON before it."""
    front = read_front_matter(html)
    if front is not None:
        return front.title, "\n".join(html.split("\n")[front.lines :])
    comment = _JSON_COMMENT.match(html)
    if comment is None:
        return "", html
    try:
        found = {key.lower(): value for key, value in json.loads(comment[1]).items()}.get("title")
    except (ValueError, RecursionError):
        found = None
    return (" ".join(found.split()) if isinstance(found, str) else ""), html[comment.end() :]


def _shallow(html: str) -> str:
    """Remove the tags that are nested too deeply, and keep what is between them."""
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
    return "".join([*parts, html[last:]])


def _content(page: LexborHTMLParser) -> LexborNode | None:
    """Find the element that holds the content: the main one, a single article, or the body."""
    for chosen in (page.css("main, [role=main]")[:1], page.css("article")):
        if len(chosen) == 1 and nodes.raw_text(chosen[0]).strip():
            return chosen[0]
    return page.body


def _blocks(parent: LexborNode, depth: int) -> list[str]:
    if depth > _MAX_DEPTH:
        return [*filter(None, [nodes.paragraph(nodes.phrase(parent))])]
    found: list[str] = []
    run: list[str] = []
    for node in (*nodes.flow(parent), None):
        if node is not None and node.tag not in nodes.BLOCKS:
            run.append(nodes.span(node))
            continue
        if run and (text := nodes.paragraph("".join(run))):
            found.append(text)
        run.clear()
        if node is not None:
            found += _block(node, depth)
    return found


def _block(node: LexborNode, depth: int) -> list[str]:
    tag = node.tag or ""
    if tag[0] == "h" and tag[1:].isdigit():
        text = " ".join(nodes.phrase(node).split())
        if text.startswith("**") and text.endswith("**") and text.count("**") == 2:
            text = text[2:-2]
        return [f"{'#' * int(tag[1])} {text}"] if nodes.paragraph(text) else []
    if tag in ("pre", "listing", "xmp"):
        code = nodes.raw_text(node).strip("\n").rstrip()
        return [code_block(code, nodes.language(node))] if code else []
    if tag in ("ul", "ol", "menu", "dir"):
        return _list(node, depth)
    if tag == "blockquote":
        lines = "\n\n".join(_blocks(node, depth + 1)).split("\n")
        return ["\n".join(quoted(lines))] if any(lines) else []
    if tag == "table":
        return _table(node, depth)
    if tag not in ("dt", "summary"):
        return ["---"]
    # Terms and summaries are bold unless they are code, links or sentences.
    text = " ".join(nodes.phrase(node).split())
    plain = len(text) > _LONG or any(mark in text for mark in ("**", "`", "]("))
    return [text if plain else f"**{text}**"] if text else []


def _list(node: LexborNode, depth: int) -> list[str]:
    number = _number(node, "start")
    mark = "-"
    items: list[str] = []
    for child in nodes.children(node):
        if child.tag == "li":
            mark = f"{number + len(items)}." if node.tag == "ol" else "-"
            if held := _blocks(child, depth + 1):
                text = held[0]
                for block in held[1:]:
                    text += ("\n" if _LIST_LIKE.match(block) and "\n\n" not in block else "\n\n") + block
                items.append("\n".join(indented(mark, text.split("\n"))))
        elif child.tag in ("ul", "ol") and (held := _list(child, depth + 1)):
            margin = " " * (len(mark) + 1) if items else ""
            items[-1:] = ["\n".join([*items[-1:], textwrap.indent(held[0], margin)])]
    loose = any("\n\n" in item for item in items)
    return [("\n\n" if loose else "\n").join(items)] if items else []


def _table(node: LexborNode, depth: int) -> list[str]:
    """Convert a table to its caption and one table, or to the blocks of its cells if it only lays out a page."""
    parts, hanging = nodes.children(node), dict[int, int]()
    rows: list[list[LexborNode | None]] = []
    for part in parts:
        found = nodes.children(part) if part.tag in ("thead", "tbody", "tfoot") else [part]
        rows += [cells for row in found if row.tag == "tr" and (cells := _cells(row, hanging))]
    filled = [[[] if cell is None else _blocks(cell, depth + 1) for cell in row] for row in rows]
    captions = [part for part in parts if part.tag == "caption"]
    above = [block for caption in captions[-1:] for block in _blocks(caption, depth + 1)]
    held = [block for row in filled for cell in row for block in cell]
    layout = node.attributes.get("role") in ("presentation", "none") or len(rows) < 2 or max(map(len, rows)) < 2
    if layout or any(block.startswith(("```", "|", "#", ">")) for block in held):
        return above + held
    return [*above, "\n".join(table([[" ".join(cell) for cell in row] for row in filled]))]


def _number(node: LexborNode, name: str) -> int:
    """Read a numeric attribute; 1 if there is none."""
    value = node.attributes.get(name) or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else 1


def _cells(row: LexborNode, hanging: dict[int, int]) -> list[LexborNode | None]:
    """List the cells of a row, None where one reaches in; by column, `hanging` says how many more rows a cell takes."""
    cells: list[LexborNode | None] = []
    # None: what hangs behind the last cell.
    for cell in (*nodes.children(row), None):
        if cell is not None and (cell.tag not in ("td", "th") or {"linenos", "gutter"} & set(nodes.classes(cell))):
            continue
        while hanging.get(len(cells), 0) > 0:
            hanging[len(cells)] -= 1
            cells.append(None)
        if cell is None:
            break
        down, across = (min(max(_number(cell, name), 1), _MAX_SPAN) for name in ("rowspan", "colspan"))
        for place in range(across):
            if down > 1:
                hanging[len(cells)] = down - 1
            cells.append(None if place else cell)
    return cells
