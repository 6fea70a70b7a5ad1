"""Rewords the engine's errors for the command line: `overwrite=True` becomes `--overwrite`."""

import os
import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from nima_cli.errors import NimaError, NotPreparedError

# A parameter with its value, as in `min_length=` and `resume=auto`; the key of a setting has no `=`.
_NAMED = re.compile(r"`(?P<name>[a-z_]+)=(?P<value>[^`\n]*)`")


def in_flags(text: str, flags: Collection[str]) -> str:
    """`text` with each parameter that is one of `flags` written as that flag."""

    def flag(match: re.Match[str]) -> str:
        name = f"--{match['name'].replace('_', '-')}"
        if name not in flags:
            return match[0]
        return f"`{name}`" if match["value"] in ("", "True") else f"`{name} {match['value']}`"

    return _NAMED.sub(flag, text)


class Command(TyperCommand):
    """A command that words the engine's errors in its own flags."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except NimaError as error:
            flags = {flag for parameter in self.params for flag in parameter.opts}
            error.message = in_flags(error.message, flags)
            error.hint = in_flags(error.hint, flags) if error.hint is not None else None
            if isinstance(error, NotPreparedError):
                error.hint = _how_to_prepare(error.folder)
            raise


def _how_to_prepare(folder: Path) -> str:
    """The command that makes a dataset in `folder`, or of the files in it."""
    listed = folder.iterdir() if folder.is_dir() and os.access(folder, os.R_OK) else iter(())
    if all(entry.name.startswith(".") for entry in listed):
        return f"make one with `nima data prepare --output-dir {shlex.quote(str(folder))} --text-files ...`"
    made = shlex.quote(str(Path("data") / folder.absolute().name))
    return f"make one of it with `nima data prepare --output-dir {made} --text-files {shlex.quote(str(folder))}`"
