"""What directives of reStructuredText, docutils' and Sphinx's, look like in Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nima_cli.engine.data.ingest.formats.rst import tables
from nima_cli.engine.data.ingest.formats.rst.lists import Blocks, glossary
from nima_cli.engine.data.ingest.formats.writing import admonition, code_span, dedented, fence, quoted, table

_OPTION = re.compile(r":(?P<name>[A-Za-z][\w -]{0,40}):(?: +(?P<value>.*))?$")
_GONE = frozenset(
    (
        *("toctree", "index", "contents", "meta", "tabularcolumns", "sectnum", "section-numbering", "target-notes"),
        *("module", "currentmodule", "program", "sectionauthor", "moduleauthor", "codeauthor", "bibliography"),
        *("namespace", "namespace-push", "namespace-pop", "highlight", "highlightlang", "testsetup", "testcleanup"),
        *("default-domain", "default-role", "role", "title", "header", "footer", "include", "literalinclude"),
        *("automodule", "autosummary", "audit-event-table", "limited-api-list"),
    )
)
_ADMONITIONS = {
    "note": "Note", "warning": "Warning", "tip": "Tip", "important": "Important", "caution": "Caution",
    "danger": "Danger", "error": "Error", "hint": "Hint", "attention": "Attention", "seealso": "See also",
    "todo": "To do", "impl-detail": "CPython implementation detail", "availability": "Availability",
}  # fmt: skip
_VERSIONS = {
    "versionadded": "Added in version {}", "versionchanged": "Changed in version {}",
    "versionremoved": "Removed in version {}", "deprecated": "Deprecated since version {}",
    "versionadded-soft": "Added in version {}", "soft-deprecated": "Soft deprecated since version {}",
    "deprecated-removed": "Deprecated since version {}, will be removed in version {}",
}  # fmt: skip
_CODE = {
    "code-block": "", "code": "", "sourcecode": "", "parsed-literal": "text", "productionlist": "text",
    "doctest": "pycon", "testcode": "python", "testoutput": "text", "prompt": "", "console": "console",
    "ipython": "python", "jupyter-execute": "python", "graphviz": "dot", "digraph": "dot", "mermaid": "mermaid",
    "uml": "plantuml", "grammar-snippet": "text", "terminal": "console",
}  # fmt: skip
_NO_LANGUAGE = frozenset({"productionlist", "doctest", "testcode", "testoutput", "parsed-literal", "grammar-snippet"})
_TITLED = frozenset({"admonition", "topic", "sidebar", "rubric", "dropdown", "tab", "tab-item", "tab-set-item", "card"})
_QUOTES = frozenset({"epigraph", "highlights", "pull-quote"})
# Descriptions: the words a page shows before the signature.
_DESCRIPTIONS = {
    "function": "", "class": "class ", "method": "", "attribute": "", "data": "", "exception": "exception ",
    "option": "", "cmdoption": "", "envvar": "", "describe": "", "object": "", "opcode": "", "pdbcommand": "",
    "2to3fixer": "", "confval": "", "property": "property ", "staticmethod": "static ", "classmethod": "classmethod ",
    "abstractmethod": "abstractmethod ", "coroutinefunction": "coroutine ", "coroutinemethod": "coroutine ",
    "awaitablefunction": "awaitable ", "awaitablemethod": "awaitable ", "decorator": "@", "decoratormethod": "@",
    "var": "", "member": "", "macro": "", "type": "type ", "struct": "struct ", "union": "union ", "enum": "enum ",
    "enumerator": "", "concept": "concept ", "alias": "", "autofunction": "", "autoclass": "class ", "automethod": "",
    "autoattribute": "", "autodata": "", "autoexception": "exception ", "directive": "", "setting": "",
    "django-admin": "", "django-admin-option": "", "templatetag": "", "templatefilter": "", "fieldlookup": "",
    "monitoring-event": "", "route": "", "get": "GET ", "post": "POST ", "put": "PUT ", "delete": "DELETE ",
    "patch": "PATCH ", "module-option": "",
}  # fmt: skip
# Of Django's documentation: alone, they only mark a place.
_MARKS_ALONE = frozenset(
    {"setting", "django-admin", "django-admin-option", "templatetag", "templatefilter", "fieldlookup"}
)
_FLAGS = ("async", "classmethod", "staticmethod", "abstractmethod", "final")


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive.

    Attributes:
        argument: what stands on its line.
        more: the lines that follow up to a blank one or an option.
        body: dedented.
    """

    name: str
    argument: str
    more: list[str]
    options: dict[str, str]
    body: list[str]

    @property
    def text(self) -> list[str]:
        """Argument and body as one text."""
        first = [self.argument, *self.more] if self.argument else list(self.more)
        return [*first, "", *self.body] if first and self.body else first or self.body


def parse_directive(name: str, argument: str, content: Sequence[str]) -> Directive:
    """Take a directive's lines apart.

    Args:
        content: the lines under its own, indented as in the file.
    """
    lines = dedented(content) if content else []
    at_once = bool(content) and bool(content[0])
    more: list[str] = []
    options: dict[str, str] = {}
    index = 0
    while at_once and index < len(lines) and lines[index]:
        match = _OPTION.match(lines[index]) if lines[index][0] == ":" else None
        if match is not None:
            options[match["name"]] = match["value"] or ""
        elif options and lines[index][0] == " ":
            last = next(reversed(options))
            options[last] = f"{options[last]} {lines[index].strip()}"
        elif options:
            break
        else:
            more.append(lines[index])
        index += 1
    return Directive(name.lower(), argument.strip(), more, options, dedented(lines[index:]))


def directive_lines(directive: Directive, blocks: Blocks) -> list[str]:
    """A directive in Markdown; empty for those a page does not show."""
    name = directive.name.rsplit(":", 1)[-1]
    if name in ("highlight", "highlightlang"):
        blocks.language = _language(directive.argument)
    if name in _GONE:
        return []
    if name in _ADMONITIONS:
        return admonition(_ADMONITIONS[name], blocks.nested(directive.text))
    if name in _VERSIONS:
        return _version(directive, name, blocks)
    if name in _CODE or name == "raw":
        return _code(directive, name, blocks)
    if name in _TITLED:
        return _titled(directive, name, blocks)
    if name in ("image", "figure"):
        return _picture(directive, blocks)
    if name in ("table", "list-table", "csv-table"):
        return _table(directive, name, blocks)
    if name in _DESCRIPTIONS or ":" in directive.name:
        return _description(directive, name, blocks)
    return _other(directive, name, blocks)


def _language(argument: str) -> str:
    words = argument.split()
    language = words[0].strip("{}=").lower() if words else ""
    return {"none": "", "python3": "python", "default": "", "c++": "cpp"}.get(language, language)


def _version(directive: Directive, name: str, blocks: Blocks) -> list[str]:
    form = _VERSIONS[name]
    words = directive.argument.split(None, form.count("{}"))
    numbers, rest = words[: form.count("{}")], words[form.count("{}") :]
    label = form.format(*numbers, *["?"] * (form.count("{}") - len(numbers)))
    text = [line for line in [*rest, *directive.more] if line]
    body = [*text, "", *directive.body] if text and directive.body else text or directive.body
    return admonition(label, blocks.nested(body))


def _code(directive: Directive, name: str, blocks: Blocks) -> list[str]:
    if name == "raw":
        return list(directive.body) if "html" in directive.argument.split() else []
    language = _CODE[name]
    body = [*directive.more, *directive.body]
    if name == "productionlist":
        return fence([line.replace("`", "") for line in body], language)
    if name == "parsed-literal":
        text = blocks.inline.convert("\n".join(directive.text))
        return fence(text.replace("`", "").replace("**", "").split("\n"), language)
    if name not in _NO_LANGUAGE and name in ("code-block", "code", "sourcecode", "prompt"):
        language = _language(directive.argument) if directive.argument else blocks.language
    title = directive.options.get("caption") or directive.options.get("name-of-file", "")
    written = fence(body, language)
    return [f"**{blocks.inline.convert(title)}**", "", *written] if title and written else written


def _titled(directive: Directive, name: str, blocks: Blocks) -> list[str]:
    title = blocks.inline.convert(" ".join([directive.argument, *directive.more]).strip())
    body = blocks.nested(directive.body)
    if name == "admonition":
        return admonition(title, body)
    head = [f"**{title}**"] if title and "**" not in title else [title] if title else []
    lines = [*head, "", *body] if head and body else head or body
    return quoted(lines) if name in ("topic", "sidebar") else lines


def _picture(directive: Directive, blocks: Blocks) -> list[str]:
    alt = directive.options.get("alt", "").strip()
    caption = blocks.nested(directive.body)
    return [alt, "", *caption] if alt and caption else [alt] if alt else caption


def _table(directive: Directive, name: str, blocks: Blocks) -> list[str]:
    title = blocks.inline.convert(" ".join([directive.argument, *directive.more]).strip())
    if name == "table":
        lines = blocks.nested(directive.body)
    else:
        body = directive.body
        listed = name == "list-table"
        rows = tables.listed_rows(body) if listed else tables.csv_rows("\n".join(body), directive.options)
        if rows is not None and listed and directive.options.get("header-rows", "0") == "0":
            rows = [[""] * max(map(len, rows)), *rows]
        if rows is not None:
            lines = table([[blocks.inline.convert(cell) for cell in row] for row in rows])
        else:
            lines = blocks.nested(body) if listed else fence(body)
    return [f"**{title}**", "", *lines] if title and lines else lines


def _description(directive: Directive, name: str, blocks: Blocks) -> list[str]:
    body = blocks.nested(directive.body)
    if name in _MARKS_ALONE and not body:
        return []
    prefix = _DESCRIPTIONS.get(name, "")
    flags = "".join(f"{flag} " for flag in _FLAGS if flag in directive.options)
    kind, value = directive.options.get("type", ""), directive.options.get("value", "")
    suffix = (f": {kind}" if kind else "") + (f" = {value}" if value else "")
    signatures = []
    held = ""
    for line in [directive.argument, *directive.more]:
        held = f"{held} {line.strip()}" if held else line.strip()
        if held.endswith("\\"):
            held = held[:-1].rstrip()
        elif held:
            signatures.append(code_span(f"{flags}{prefix}{held}{suffix}".replace("\\", "")))
            held = ""
    return [*signatures, "", *body] if signatures and body else signatures or body


def _other(directive: Directive, name: str, blocks: Blocks) -> list[str]:
    if name == "audit-event":
        return blocks.nested(directive.body) or _audit(directive.argument)
    if name == "math":
        return ["$$", *(directive.text), "$$"] if directive.text else []
    if name == "glossary":
        return glossary(blocks, directive.body)
    if name in _QUOTES:
        return quoted(blocks.nested(directive.text))
    if name == "centered":
        return [f"**{blocks.inline.convert(directive.argument)}**"]
    if name == "line-block":
        return blocks.nested(directive.text)
    # A container's argument is its name, class or condition; its lines that go on are text.
    body = [*directive.more, "", *directive.body] if directive.more else directive.body
    return blocks.nested(body, titled=True)


def _audit(argument: str) -> list[str]:
    event, _, names = argument.partition(" ")
    arguments = [code_span(name) for name in names.split()[0].split(",") if name] if names.strip() else []
    listed = " and ".join(filter(None, [", ".join(arguments[:-1]), *arguments[-1:]]))
    what = f"argument{'s' if len(arguments) > 1 else ''} {listed}" if arguments else "no arguments"
    return [f"Raises an auditing event {code_span(event)} with {what}."]
