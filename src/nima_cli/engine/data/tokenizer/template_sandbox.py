"""Runs chat templates that others wrote, in jinja2's sandbox, with what `transformers` gives to templates.

The sandbox keeps templates from Python's insides and from changing their input. Beyond it, they may not make a text
longer at one stroke than a conversation is; a template can still loop for long.
"""

import json
import re
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 2**18
_MAX_REPEATED, _MAX_RANGE, _MAX_POWER = 10_000, 10_000, 64
_PADDED = re.compile(r"%[^A-Za-z%]*[\d*]")


class _Generation(Extension):
    """Reads over `{% generation %}`, with which templates mark what the assistant says."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(one) for one in (left, right) if isinstance(one, str | list | tuple)]
        counts = [one for one in (left, right) if isinstance(one, int)]
        if (
            (operator == "*" and sizes and counts and sizes[0] * counts[0] > _MAX_REPEATED)
            or (operator == "**" and any(abs(count) > _MAX_POWER for count in counts))
            or (operator == "%" and isinstance(left, str) and _PADDED.search(left))
        ):
            raise SecurityError(f"`{operator}` makes more than a template may")
        return super().call_binop(context, operator, left, right)


def compile_template(source: str) -> Template:
    """A template to render with `messages`; `raise_exception` and the like are known to it.

    Raises `jinja2.TemplateError` for one that cannot be read, or is longer than `MAX_CHARACTERS`.
    """
    if len(source) > MAX_CHARACTERS:
        raise TemplateError(f"it has {len(source):,} characters")
    sandbox = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    sandbox.filters["tojson"] = _tojson
    sandbox.globals |= {"raise_exception": _raise, "range": _range}
    return sandbox.from_string(source)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _MAX_RANGE:
        raise SecurityError(f"a range of {len(found):,}")
    return found


def clock(now: datetime) -> Any:
    """The `strftime_now` of a template at a given time."""
    return now.strftime
