"""Turns directives of reStructuredText, docutils' and Sphinx's, into Markdown."""

import re
from collections.abc import Callable, Sequence

from nima_cli.engine.data.ingest.formats import writing
from nima_cli.engine.data.ingest.formats.blocks import Converter
from nima_cli.engine.data.ingest.formats.rst import tables
from nima_cli.engine.data.ingest.formats.rst.lists import glossary
from nima_cli.engine.data.ingest.formats.writing import admonition, bold, code_span, dedented, fence, joined, quoted

_OPTION = re.compile(r":(?P<name>[A-Za-z][\w -]{0,40}):(?: +(?P<value>.*))?$")
# Show nothing; unknown directives show their body.
_GONE = (
    *("toctree", "index", "meta", "header", "footer", "testsetup", "testcleanup", "automodule", "autosummary"),
    *("module", "currentmodule", "program", "namespace", "namespace-push", "namespace-pop"),
    *("sectionauthor", "moduleauthor", "codeauthor"),
)
_ADMONITIONS = {
    "note": "Note", "warning": "Warning", "tip": "Tip", "important": "Important", "caution": "Caution",
    "danger": "Danger", "error": "Error", "hint": "Hint", "attention": "Attention", "seealso": "See also",
    "todo": "To do", "impl-detail": "CPython implementation detail", "availability": "Availability",
}  # fmt: skip
_VERSIONS = {
    "versionadded": "Added in version {}", "versionchanged": "Changed in version {}",
    "versionremoved": "Removed in version {}", "deprecated": "Deprecated since version {}",
    "soft-deprecated": "Soft deprecated since version {}",
    "deprecated-removed": "Deprecated since version {}, will be removed in version {}",
}  # fmt: skip
# The language of code; None where the argument names it.
_CODE = {
    "code-block": None, "code": None, "sourcecode": None, "prompt": None, "parsed-literal": "text",
    "productionlist": "text", "doctest": "pycon", "testcode": "python", "testoutput": "text", "console": "console",
    "ipython": "python", "jupyter-execute": "python", "graphviz": "dot", "digraph": "dot", "mermaid": "mermaid",
    "uml": "plantuml", "grammar-snippet": "text", "terminal": "console",
}  # fmt: skip
_LANGUAGES = {"none": "", "python3": "python", "default": "", "c++": "cpp"}
# The words before the signature of a description.
_PREFIXES = {
    "class": "class ", "exception": "exception ", "property": "property ", "staticmethod": "static ",
    "classmethod": "classmethod ", "abstractmethod": "abstractmethod ", "coroutinefunction": "coroutine ",
    "coroutinemethod": "coroutine ", "awaitablefunction": "awaitable ", "awaitablemethod": "awaitable ",
    "decorator": "@", "decoratormethod": "@", "type": "type ", "struct": "struct ", "union": "union ",
    "enum": "enum ", "concept": "concept ", "autoclass": "class ", "autoexception": "exception ", "get": "GET ",
    "post": "POST ", "put": "PUT ", "delete": "DELETE ", "patch": "PATCH ",
}  # fmt: skip
_DESCRIPTIONS = (
    *("function", "method", "attribute", "data", "option", "cmdoption", "envvar", "describe", "object", "opcode"),
    *("pdbcommand", "2to3fixer", "confval", "var", "member", "macro", "enumerator", "alias", "autofunction"),
    *("automethod", "autoattribute", "autodata", "directive", "monitoring-event", "route", "module-option"),
    *("django-admin", "django-admin-option"),
)
_FLAGS = ("async", "classmethod", "staticmethod", "abstractmethod", "final")


class _Directive:
    def __init__(self, name: str, argument: str, content: Sequence[str]) -> None:
        self.name, self.argument = name, argument
        self.more: list[str] = []  # the lines after the argument, up to a blank one or an option
        self.options: dict[str, str] = {}
        lines = dedented(content)
        last = ""
        index = 0
        while content and content[0] and index < len(lines) and (line := lines[index]):
            match = _OPTION.match(line)
            if match is not None:
                last = match["name"]
                self.options[last] = match["value"] or ""
            elif self.options and line[0] == " ":
                self.options[last] += f" {line.strip()}"
            elif self.options:
                break
            else:
                self.more.append(line)
            index += 1
        self.body = dedented(lines[index:])
        self.head = [argument, *self.more] if argument else self.more
        self.title = " ".join(self.head).strip()
        self.text = joined(self.head, self.body)


def directive_lines(name: str, argument: str, content: Sequence[str], blocks: Converter) -> list[str]:
    """Convert a directive; its name is in lower case with its domain, its content indented as in the file."""
    own_name = name.rpartition(":")[2]
    handler = _HANDLERS.get(own_name, _description if ":" in name else _container)
    return handler(_Directive(own_name, argument, content), blocks)


def _highlight(directive: _Directive, blocks: Converter) -> list[str]:
    blocks.language = _language(directive.argument)
    return []


def _language(argument: str) -> str:
    language = argument.split()[0].strip("{}=").lower() if argument else ""
    return _LANGUAGES.get(language, language)


def _version(directive: _Directive, blocks: Converter) -> list[str]:
    form = _VERSIONS[directive.name]
    count = form.count("{}")
    words = directive.argument.split(None, count)
    label = form.format(*words[:count], *["?"] * (count - len(words)))
    return admonition(label, blocks.nested(joined([*words[count:], *directive.more], directive.body)))


def _code(directive: _Directive, blocks: Converter) -> list[str]:
    language = _CODE[directive.name]
    if language is None:
        language = _language(directive.argument) if directive.argument else blocks.language
    body = [*directive.more, *directive.body]
    if directive.name == "productionlist":
        body = [line.replace("`", "") for line in body]
    elif directive.name == "parsed-literal":
        text = blocks.inline("\n".join(directive.text))
        body = text.replace("`", "").replace("**", "").split("\n")
    elif title := directive.options.get("caption", ""):
        written = fence(body, language)
        return joined(bold(blocks.inline(title)), written) if written else []
    return fence(body, language)


def _titled(directive: _Directive, blocks: Converter) -> list[str]:
    return joined(bold(blocks.inline(directive.title)), blocks.nested(directive.body))


def _table(directive: _Directive, blocks: Converter) -> list[str]:
    body = directive.body
    title = blocks.inline(directive.title)
    read = {"list-table": tables.listed_rows, "csv-table": tables.csv_rows}.get(directive.name)
    rows = read(body, directive.options) if read is not None else None
    if rows is not None:
        lines = writing.table([[blocks.inline(cell) for cell in row] for row in rows])
    else:
        lines = fence(body) if directive.name == "csv-table" else blocks.nested(body)
    return joined(bold(title), lines) if lines else []


def _description(directive: _Directive, blocks: Converter) -> list[str]:
    flags = "".join(f"{flag} " for flag in _FLAGS if flag in directive.options)
    prefix = flags + _PREFIXES.get(directive.name, "")
    kind, value = directive.options.get("type", ""), directive.options.get("value", "")
    suffix = (f": {kind}" if kind else "") + (f" = {value}" if value else "")
    signatures = []
    held = ""
    for line in directive.head:
        held = f"{held} {line.strip()}" if held else line.strip()
        if held.endswith("\\"):
            held = held[:-1].rstrip()
        elif held:
            signatures.append(code_span(f"{prefix}{held}{suffix}".replace("\\", "")))
            held = ""
    return joined(signatures, blocks.nested(directive.body))


def _container(directive: _Directive, blocks: Converter) -> list[str]:
    # The argument is a name, a class or a condition; the lines after it are text.
    body = [*directive.more, "", *directive.body] if directive.more else directive.body
    return blocks.nested(body, titled=True)


def _audit_event(directive: _Directive, blocks: Converter) -> list[str]:
    event, _, rest = directive.argument.partition(" ")
    names = [code_span(name) for name in (rest.split() or [""])[0].split(",") if name]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    what = f"argument{'s' if len(names) > 1 else ''} {listed}" if names else "no arguments"
    return blocks.nested(directive.body) or [f"Raises an auditing event {code_span(event)} with {what}."]


_HANDLERS: dict[str, Callable[[_Directive, Converter], list[str]]] = {
    **dict.fromkeys((*_DESCRIPTIONS, *_PREFIXES), _description),
    **dict.fromkeys(_GONE, lambda *_: []),
    **dict.fromkeys(_ADMONITIONS, lambda one, blocks: admonition(_ADMONITIONS[one.name], blocks.nested(one.text))),
    **dict.fromkeys(_VERSIONS, _version),
    **dict.fromkeys(_CODE, _code),
    **dict.fromkeys(("rubric", "dropdown", "tab", "tab-item", "tab-set-item", "card"), _titled),
    **dict.fromkeys(("topic", "sidebar"), lambda one, blocks: quoted(_titled(one, blocks))),
    **dict.fromkeys(
        ("image", "figure"),
        lambda one, blocks: joined([*filter(None, [one.options.get("alt", "").strip()])], blocks.nested(one.body)),
    ),
    **dict.fromkeys(("table", "list-table", "csv-table"), _table),
    **dict.fromkeys(("highlight", "highlightlang"), _highlight),
    **dict.fromkeys(("epigraph", "highlights", "pull-quote"), lambda one, blocks: quoted(blocks.nested(one.text))),
    "raw": lambda one, _: one.body if "html" in one.argument.split() else [],
    "admonition": lambda one, blocks: admonition(blocks.inline(one.title), blocks.nested(one.body)),
    "audit-event": _audit_event,
    "math": lambda one, _: ["$$", *one.text, "$$"] if one.text else [],
    "glossary": lambda one, blocks: glossary(blocks, one.body),
    "centered": lambda one, blocks: bold(blocks.inline(one.argument)),
    "line-block": lambda one, blocks: blocks.nested(one.text),
}
