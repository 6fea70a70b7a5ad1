"""HTML pages to Markdown: what a page says, by its headings, lists, tables and code, without the frame around it.

The parser is Lexbor, which reads broken pages as browsers do. `*` and `_` in text are not escaped: what is learnt is
read by eyes and not by a renderer.
"""

import codecs
import json
import re
import textwrap

from selectolax.lexbor import LexborHTMLParser, LexborNode

from nima_cli.engine.data.cleaning.front_matter import read_front_matter
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.decoded_value import decode
from nima_cli.engine.data.ingest.formats.errors import FormatError
from nima_cli.engine.data.ingest.formats.html.nodes import BLOCKS, children, classes, flow, language, raw_text
from nima_cli.engine.data.ingest.formats.html.phrases import holds_template, paragraph, phrase, span
from nima_cli.engine.data.ingest.formats.writing import code_block, indented, quoted, table

_DECLARED = re.compile(
    rb"""(?:\bcharset\s*=\s*|<\?xml[^>]{0,100}\bencoding\s*=\s*)["']?\s*([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE
)
_HINT = "name the encoding it is really in: `data.encoding`"
# Where a page says what it is in.
_HEAD = 4096
# Browsers read these as their supersets.
_SUPERSETS = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "x-sjis": "cp932", "euc-kr": "cp949",
    "iso-8859-9": "cp1254", "tis-620": "cp874",
}  # fmt: skip
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
_MAX_SPAN = 100
_JSON_COMMENT = re.compile(r"\s*<!--(\{.{0,5000}?\})-->", re.DOTALL)
_LIST_LIKE = re.compile(r"(?:-|\d+\.) ")


def html_bytes_to_markdown(data: bytes, encoding: str | None) -> str:
    """The page in UTF-8 where it is that, whatever it says; else in the encoding that it declares, else in `encoding`.

    Raises:
        UnusableError: it is in none of them.
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
            raise FormatError(error.what, error.reason, hint=_HINT) from error
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
        # Five bytes of this one mean nothing; browsers show nothing for them.
        return data.decode(encoding, "ignore" if encoding == "cp1252" else "strict")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        what = f"byte 0x{data[error.start]:02x} at offset {error.start} (line {line}) is not {encoding.upper()}"
        raise FormatError(what, "not_utf8", hint=_HINT) from error


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
    head = page.css_first("head > title")
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
    if comment is None:
        return "", html
    try:
        found = {key.lower(): value for key, value in json.loads(comment[1]).items()}.get("title")
    except (ValueError, RecursionError):
        found = None
    return (" ".join(found.split()) if isinstance(found, str) else ""), html[comment.end() :]


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
    return "".join([*parts, html[last:]])


def _content(page: LexborHTMLParser) -> LexborNode | None:
    """The element that holds what a page says: the main one, a single article, or all of it."""
    for chosen in (page.css("main, [role=main]")[:1], page.css("article")):
        if len(chosen) == 1 and raw_text(chosen[0]).strip():
            return chosen[0]
    return page.body


def _blocks(parent: LexborNode, depth: int) -> list[str]:
    """The Markdown of what `parent` holds, block by block."""
    if depth > _MAX_DEPTH:
        return [text for text in [paragraph(phrase(parent))] if text]
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
        code = raw_text(node).strip("\n").rstrip()
        return [code_block(code, language(node))] if code else []
    if tag in ("ul", "ol", "menu", "dir"):
        return _list(node, depth)
    if tag == "blockquote":
        lines = "\n\n".join(_blocks(node, depth + 1)).split("\n")
        return ["\n".join(quoted(lines))] if any(lines) else []
    if tag == "table":
        return _table(node, depth)
    return _term(node) if tag in ("dt", "summary") else ["---"]


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


def _list(node: LexborNode, depth: int) -> list[str]:
    number = _number(node, "start", 1)
    mark = "-"
    items: list[str] = []
    for child in children(node):
        if child.tag == "li":
            mark = f"{number + len(items)}." if node.tag == "ol" else "-"
            if held := _blocks(child, depth + 1):
                items.append(_item(mark, held))
        elif child.tag in ("ul", "ol") and (held := _list(child, depth + 1)):
            margin = " " * (len(mark) + 1) if items else ""
            items[-1:] = ["\n".join([*items[-1:], textwrap.indent(held[0], margin)])]
    loose = any("\n\n" in item for item in items)
    return [("\n\n" if loose else "\n").join(items)] if items else []


def _item(mark: str, held: list[str]) -> str:
    text = held[0]
    for block in held[1:]:
        text += ("\n" if _LIST_LIKE.match(block) and "\n\n" not in block else "\n\n") + block
    return "\n".join(indented(mark, text.split("\n")))


def _table(node: LexborNode, depth: int) -> list[str]:
    """The blocks that a table becomes: its caption and one table, or what the cells of a layout hold."""
    captions, rows = _rows(node)
    filled = [[[] if cell is None else _blocks(cell, depth + 1) for cell in row] for row in rows]
    above = [block for caption in captions[-1:] for block in _blocks(caption, depth + 1)]
    held = [block for row in filled for cell in row for block in cell]
    layout = node.attributes.get("role") in ("presentation", "none") or len(rows) < 2 or max(map(len, rows)) < 2
    if layout or any(block.startswith(("```", "|", "#", ">")) for block in held):
        return above + held
    return [*above, "\n".join(table([[" ".join(cell) for cell in row] for row in filled]))]


def _rows(node: LexborNode) -> tuple[list[LexborNode], list[list[LexborNode | None]]]:
    """The captions, and the cells row by row; None where a cell reaches in from the left or from above."""
    rows: list[list[LexborNode | None]] = []
    hanging: dict[int, int] = {}
    parts = children(node)
    for part in parts:
        found = children(part) if part.tag in ("thead", "tbody", "tfoot") else [part]
        rows += [cells for row in found if row.tag == "tr" and (cells := _cells(row, hanging))]
    return [part for part in parts if part.tag == "caption"], rows


def _span(cell: LexborNode, name: str) -> int:
    return min(max(_number(cell, name, 1), 1), _MAX_SPAN)


def _number(node: LexborNode, name: str, default: int) -> int:
    value = node.attributes.get(name) or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else default


def _cells(row: LexborNode, hanging: dict[int, int]) -> list[LexborNode | None]:
    """The cells of a row; `hanging` says by column how many rows more a cell above takes."""
    cells: list[LexborNode | None] = []
    # None: what hangs behind the last cell.
    for cell in (*children(row), None):
        if cell is not None and (cell.tag not in ("td", "th") or not {"linenos", "gutter"}.isdisjoint(classes(cell))):
            continue
        while hanging.get(len(cells), 0) > 0:
            hanging[len(cells)] -= 1
            cells.append(None)
        down = _span(cell, "rowspan") - 1 if cell is not None else 0
        for place in range(_span(cell, "colspan") if cell is not None else 0):
            if down > 0:
                hanging[len(cells)] = down
            cells.append(None if place else cell)
    return cells
