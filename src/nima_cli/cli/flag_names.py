"""Commands in whose errors the engine's names of options are flags: `overwrite=True` reads `--overwrite`."""

import re
from collections.abc import Collection
from typing import Any

import typer
from typer.core import TyperCommand

from nima_cli.errors import NimaError

# The engine names a parameter with its value: `min_length=`, `resume=auto`. The key of a setting stays what it is.
_NAMED = re.compile(r"`(?P<name>[a-z_]+)=(?P<value>[^`\n]*)`")


def in_flags(text: str, flags: Collection[str]) -> str:
    """`text` with each option that is among `flags` named as on the command line, and all else as it is."""

    def flag(match: re.Match[str]) -> str:
        name = f"--{match['name'].replace('_', '-')}"
        if name not in flags:
            return match[0]
        return f"`{name}`" if match["value"] in ("", "True") else f"`{name} {match['value']}`"

    return _NAMED.sub(flag, text)


class Command(TyperCommand):
    """A command that words the engine's errors in its own flags."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run it."""
        try:
            return super().invoke(ctx)
        except NimaError as error:
            flags = {flag for parameter in self.params for flag in parameter.opts}
            error.message = in_flags(error.message, flags)
            error.hint = in_flags(error.hint, flags) if error.hint is not None else None
            raise
