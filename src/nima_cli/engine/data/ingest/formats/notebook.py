"""Turns Jupyter notebooks, versions 3 and 4, into Markdown, without the outputs of their code."""

import json
import re
from collections.abc import Iterator
from typing import Any

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.formats.html.html import html_to_markdown
from nima_cli.engine.data.ingest.formats.writing import code_block

# Names the language of a cell where it is not the kernel's.
_MAGIC = re.compile(r"%%(?:script +)?(bash|sh|zsh|html|javascript|js|latex|sql|perl|ruby|R|cython|markdown)\b")
_ATTACHED = re.compile(r"!\[([^\[\]]*)\]\(attachment:[^()\s]*\)")
_LANGUAGE = re.compile(r"[A-Za-z0-9+#._-]{1,20}")
_SPELLED = {"ipython": "python", "ipython3": "python", "python3": "python", "js": "javascript", "cython": "python"}


def notebook_to_markdown(text: str) -> str:
    """Keep Markdown cells as they are and fence code cells; raises `UnusableError` for what is not a notebook."""
    notebook = _parsed(text) if text.strip() else {"cells": []}
    metadata = _object(notebook.get("metadata"))
    info, kernel = _object(metadata.get("language_info")), _object(metadata.get("kernelspec"))
    language = _name(info.get("name") or kernel.get("language") or metadata.get("language")) or "python"
    parts = [_cell(cell, language).strip("\n") for cell in _cells(notebook)]
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def _parsed(text: str) -> dict[str, Any]:
    hint = "open it with Jupyter and save it again; to learn its text as it is, use `format: text`"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise UnusableError(f"broken notebook: {what}", place=f":{error.lineno}:{error.colno}", hint=hint) from error
    except (RecursionError, ValueError) as error:
        raise UnusableError("broken notebook: nested too deeply, or a number too long", hint=hint) from error
    if not isinstance(value, dict) or not ("cells" in value or "worksheets" in value):
        raise UnusableError("is no notebook: it holds no `cells`", hint=hint)
    return value


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sheets = notebook.get("worksheets", [notebook])
    for sheet in sheets if isinstance(sheets, list) else [sheets]:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
            raise UnusableError("broken notebook: `cells` is no list of cells")
        yield from cells


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(value: Any) -> str:
    """Spell a language as fences do; empty if it cannot be one."""
    name = value.lower() if isinstance(value, str) and _LANGUAGE.fullmatch(value) else ""
    return _SPELLED.get(name, name)


def _cell(cell: dict[str, Any], language: str) -> str:
    kind, source = cell.get("cell_type"), _source(cell)
    if kind == "markdown":
        return _ATTACHED.sub(r"\1", source)
    if kind == "code":
        code = source.strip("\n").rstrip()
        magic = _MAGIC.match(code)
        named = _name(magic[1]) if magic else _name(cell.get("language")) or language
        return code_block(code, named) if code else ""
    if kind == "heading":
        level = cell.get("level")
        return f"{'#' * (level if isinstance(level, int) and 0 < level < 7 else 1)} {' '.join(source.split())}"
    metadata = _object(cell.get("metadata"))
    mime = metadata.get("raw_mimetype") or metadata.get("format") or "text/plain"
    if kind == "html" or (kind in ("raw", "plaintext") and mime == "text/html"):
        return html_to_markdown(source)
    # Cells for one kind of export go.
    return source if kind in ("raw", "plaintext") and mime in ("text/markdown", "text/plain") else ""


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", cell.get("input", ""))
    lines = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        raise UnusableError("broken notebook: the source of a cell is no text")
    text = "".join(lines)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableError("broken notebook: a cell holds half a character", "surrogate") from error
    return text
