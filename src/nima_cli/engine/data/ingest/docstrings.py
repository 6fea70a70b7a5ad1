"""Reads the documentation strings of Python source files by parsing them; never imports what it reads about."""

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIN_CHARACTERS = 60
_MAX_SIGNATURE = 240
# A role with or without its name: :func:`~torch.abs`, `.Axes`, :ref:`the text <label>`.
_ROLE = re.compile(r"(?::(?:[a-z]+:)?[a-z]+:`[~.!]*|(?<!`)`[~.!]+)([^`<>\n]+?)(?:\s*<[^>`]*>)?`")
_LITERAL = re.compile(r"``([^`\n]+)``")
_FORMAT = re.compile(r"\{\{|\}\}|\{(\w+)\}")
# Stands for a piece of text that could not be found; no documentation holds it by itself.
_UNKNOWN = "\0"
# numpy puts a line `--` after a signature meant for machines, and one for people after it.
_SIGNATURE = re.compile(r"\A\s*(?:--\s+)?([\w.]+\(.*?\)(?: *-> *[^\n]*)?) *\n", re.DOTALL)
_ADDERS = frozenset({"add_docstr", "_add_docstr", "add_docstr_all", "add_newdoc"})

EntryKind = Literal["module", "class", "function"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The documentation of one thing.

    Attributes:
        name: full dotted name.
        signature: how to call it, without the module; empty for a module.
        doc: Markdown, dedented, examples in fences.
    """

    kind: EntryKind
    name: str
    signature: str
    doc: str


def read_source(path: Path, module: str) -> list[Entry]:
    """Public documentation strings of at least `MIN_CHARACTERS` in one file, in the order of the source.

    A file that cannot be read or parsed (code for another version) has none.
    """
    tree = _parse(path)
    return [] if tree is None else list(_entries(tree, module, ""))


def _parse(path: Path) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _entries(node: ast.Module | ast.ClassDef, module: str, prefix: str) -> Iterator[Entry]:
    kind: EntryKind = "class" if isinstance(node, ast.ClassDef) else "module"
    doc = _docstring(node)
    if doc:
        yield Entry(kind, f"{module}.{prefix}".rstrip("."), prefix, doc)
    for child in node.body:
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
            continue
        name = f"{prefix}.{child.name}" if prefix else child.name
        if isinstance(child, ast.ClassDef):
            yield from _entries(child, module, name)
        elif doc := _docstring(child):
            yield Entry("function", f"{module}.{name}", _signature(child, name, method=bool(prefix)), doc)


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
    out: list[str] = []
    lines = doc.expandtabs().split("\n")
    index = 0
    while index < len(lines):
        if lines[index].lstrip().startswith(">>> "):
            end = _session_end(lines, index)
            margin = len(lines[index]) - len(lines[index].lstrip())
            _end_lead_in(out)
            session = [line[margin:].rstrip() for line in lines[index:end] if "# xdoctest:" not in line]
            out += ["```python", *session, "```"]
            index = end
        else:
            out.append(_LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", lines[index].rstrip())))
            index += 1
    return "\n".join(out).strip("\n")


def _end_lead_in(out: list[str]) -> None:
    """`Example::` announces an indented block; before a fence one colon is enough, and a blank line is needed."""
    while out and not out[-1]:
        out.pop()
    if out and out[-1].endswith("::"):
        out[-1] = out[-1][:-1]
    if out:
        out.append("")


def _session_end(lines: list[str], start: int) -> int:
    """A doctest session ends at a blank line, unless another prompt follows it."""
    end = start
    while end < len(lines) and (lines[end].strip() or _prompt(lines, end + 1)):
        end += 1
    return end


def _prompt(lines: list[str], index: int) -> bool:
    return index < len(lines) and lines[index].lstrip().startswith(">>> ")


def read_added(path: Path, module: str) -> list[Entry]:
    """Documentation that a package attaches to compiled functions: calls of `add_docstr`, `add_newdoc` and kin.

    Args:
        path: the file of such calls.
        module: the public name of what a bare name in them belongs to, such as `torch.Tensor`.
    """
    tree = _parse(path)
    if tree is None:
        return []
    shared = _shared_arguments(tree)
    found: list[Entry] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _function(node) in _ADDERS and len(node.args) >= 2:
            name, raw = _attached(node, module, shared)
            entry = _attached_entry(name, raw, module)
            if entry is not None:
                found.append(entry)
    return found


def _function(node: ast.Call) -> str:
    return ast.unparse(node.func).split(".")[-1]


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


def _attached_entry(name: str, raw: str, module: str) -> Entry | None:
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
    return Entry("function", name, signature, to_markdown(doc))


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
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _function(node) == "parse_kwargs" and node.args:
            text = inspect.cleandoc("\n" + _string(node.args[0], {}))
            for part in re.split(r"\n(?=\w+ ?(?:\(.*?\))?:)", text):
                name = re.match(r"\w+", part)
                if name:
                    shared.setdefault(name[0], part)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    shared.setdefault(str(key.value), inspect.cleandoc(value.value))
    return shared
