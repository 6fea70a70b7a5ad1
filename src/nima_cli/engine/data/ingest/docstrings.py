"""Reads the documentation strings of Python source files by parsing them, without importing them."""

import ast
import inspect
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIN_CHARACTERS = 60
_MAX_SIGNATURE = 240
# A role with or without its name: :func:`~torch.abs`, `.Axes`, :ref:`the text <label>`.
_ROLE = re.compile(r"(?::(?:[a-z]+:)?[a-z]+:`[~.!]*|(?<!`)`[~.!]+)([^`<>\n]+?)(?:\s*<[^>`]*>)?`")
_LITERAL = re.compile(r"``([^`\n]+)``")
# A doctest session ends at a blank line, unless another prompt follows it.
_SESSION = re.compile(r"^([^\S\n]*)>>> [^\n]*(?:\n(?=[^\n]*\S)[^\n]*|\n[^\S\n]*(?=\n[^\S\n]*>>> ))*", re.MULTILINE)
_FORMAT = re.compile(r"\{\{|\}\}|\{(\w+)\}")
# Stands for a piece of text that could not be found; no documentation holds it by itself.
_UNKNOWN = "\0"
# numpy puts a line `--` after a signature meant for machines, and one for people after it.
_SIGNATURE = re.compile(r"\A\s*(?:--\s+)?([\w.]+\(.*?\)(?: *-> *[^\n]*)?) *\n", re.DOTALL)
_ADDERS = frozenset({"add_docstr", "_add_docstr", "add_docstr_all", "add_newdoc"})

DocKind = Literal["module", "class", "function"]


@dataclass(frozen=True, slots=True)
class DocEntry:
    """The documentation of one thing.

    Attributes:
        name: full dotted name.
        signature: how to call it, without the module; empty for a module.
        doc: Markdown, dedented, examples in fences.
    """

    kind: DocKind
    name: str
    signature: str
    doc: str


def read_source(path: Path, module: str) -> list[DocEntry]:
    """Public documentation strings of at least `MIN_CHARACTERS` in one file, in the order of the source.

    A file that cannot be read or parsed (code for another version) has none.
    """
    return list(_entries(_parse(path), module, ""))


def _parse(path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


def _entries(node: ast.Module | ast.ClassDef, module: str, prefix: str) -> Iterator[DocEntry]:
    kind: DocKind = "class" if isinstance(node, ast.ClassDef) else "module"
    doc = _docstring(node)
    if doc:
        yield DocEntry(kind, f"{module}.{prefix}".rstrip("."), prefix, doc)
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
            continue
        name = f"{prefix}.{child.name}" if prefix else child.name
        if isinstance(child, ast.ClassDef):
            yield from _entries(child, module, name)
        elif doc := _docstring(child):
            yield DocEntry("function", f"{module}.{name}", _signature(child, name, method=bool(prefix)), doc)


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    raw = ast.get_docstring(node, clean=True) or ""
    # An escape such as "\\ud800" makes half a character, which no file can hold.
    half = any("\ud800" <= character <= "\udfff" for character in raw) if not raw.isascii() else False
    return to_markdown(raw) if len(raw) >= MIN_CHARACTERS and not half else ""


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, *, method: bool) -> str:
    arguments = node.args
    if method and (arguments.posonlyargs or arguments.args):
        first = (arguments.posonlyargs or arguments.args)[0].arg
        if first in ("self", "cls"):
            del (arguments.posonlyargs or arguments.args)[0]
    text = f"{name}({ast.unparse(arguments)})"
    if node.returns is not None:
        text += f" -> {ast.unparse(node.returns)}"
    return text if len(text) <= _MAX_SIGNATURE else f"{name}(…)"


def to_markdown(doc: str) -> str:
    """A cleaned documentation string as Markdown: roles become code, and doctest sessions fences, text unchanged."""
    doc, out, end = doc.expandtabs(), "", 0
    for session in _SESSION.finditer(doc):
        # `Example::` announces an indented block; before a fence one colon is enough, and a blank line is needed.
        lead_in = (out + _plain(doc[end : session.start()])).rstrip("\n")
        lead_in = lead_in[:-1] if lead_in.endswith("::") else lead_in
        margin = len(session[1])
        lines = [line[margin:].rstrip() for line in session[0].split("\n") if "# xdoctest:" not in line]
        out = "\n".join([*([lead_in, ""] if lead_in else []), "```python", *lines, "```"])
        end = session.end()
    return (out + _plain(doc[end:])).strip("\n")


def _plain(text: str) -> str:
    return "\n".join(_LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", line.rstrip())) for line in text.split("\n"))


def read_added(path: Path, module: str) -> list[DocEntry]:
    """Documentation that a package attaches to compiled functions: calls of `add_docstr`, `add_newdoc` and kin.

    Args:
        path: the file of such calls.
        module: the public name of what a bare name in them belongs to, such as `torch.Tensor`.
    """
    tree = _parse(path)
    shared = _shared_arguments(tree)
    calls = [node for node in _calls(tree, _ADDERS) if len(node.args) >= 2]
    entries = [_attached_entry(*_attached(call, module, shared), module) for call in calls]
    return [entry for entry in entries if entry is not None]


def _calls(tree: ast.Module, functions: Collection[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in functions:
            yield node


def _attached(node: ast.Call, module: str, shared: dict[str, str]) -> tuple[str, str]:
    target, last = node.args[0], node.args[-1]
    if isinstance(target, ast.Constant) and len(node.args) == 3:
        # numpy: add_newdoc(place, name, doc) or add_newdoc(place, name, (attribute, doc))
        name = f"{module}.{_string(node.args[1], {})}"
        if isinstance(last, ast.Tuple) and len(last.elts) == 2:
            name, last = f"{name}.{_string(last.elts[0], {})}", last.elts[1]
    else:
        name = f"{module}.{_string(target, {})}" if isinstance(target, ast.Constant) else ast.unparse(target)
    return name, _string(last, shared)


def _called(signature: re.Match[str]) -> str:
    return signature[1].split("(")[0].split(".")[-1]


def _attached_entry(name: str, raw: str, module: str) -> DocEntry | None:
    match = _SIGNATURE.match(raw)
    if match and any(part.startswith("_") for part in name.split(".")):
        name = f"{module}.{_called(match)}"
    short = name.removeprefix(f"{module}.")
    signature = f"{short}(…)"
    while match and _called(match) == short.split(".")[-1]:
        signature, raw = " ".join(match[1].split()), raw[match.end() :]
        match = _SIGNATURE.match(raw)
    # numpy fills `${NAME}` lines when it is imported.
    doc = "\n".join(line for line in inspect.cleandoc(raw).split("\n") if not line.lstrip().startswith("${"))
    private = not name or any(part.startswith("_") for part in name.split("."))
    if private or len(doc) < MIN_CHARACTERS or _UNKNOWN in doc:
        return None
    return DocEntry("function", name, signature, to_markdown(doc))


def _string(node: ast.expr, shared: dict[str, str]) -> str:
    """The text of a string literal, of literals joined by `+`, or of a literal `.format`-ed with shared arguments."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _string(node.left, shared) + _string(node.right, shared)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = _string(node.func.value, shared)
        return _FORMAT.sub(lambda match: shared.get(match[1], _UNKNOWN) if match[1] else match[0][0], text)
    return ""


def _shared_arguments(tree: ast.Module) -> dict[str, str]:
    """Every named piece of text that such files format into their strings: `name: text` blocks and dictionaries."""
    shared: dict[str, str] = {}
    for call in _calls(tree, {"parse_kwargs"}):
        text = inspect.cleandoc("\n" + _string(call.args[0], {})) if call.args else ""
        for part in re.split(r"\n(?=\w+ ?(?:\(.*?\))?:)", text):
            if name := re.match(r"\w+", part):
                shared.setdefault(name[0], part)
    for node in ast.walk(tree):
        pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
        for key, value in pairs:
            if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                shared.setdefault(str(key.value), inspect.cleandoc(value.value))
    return shared
