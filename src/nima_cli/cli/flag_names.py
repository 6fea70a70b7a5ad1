"""Speaks of settings as the command line does: `overwrite=True` in an error becomes `--overwrite`."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from nima_cli.errors import NimaError, NotPreparedError

if TYPE_CHECKING:
    from nima_cli.events import Event

# A parameter with its value, as in `min_length=` and `resume=auto`; the key of a setting has no `=`.
_NAMED = re.compile(r"`(?P<name>[a-z_]+)=(?P<value>[^`\n]*)`")
_KEY = re.compile(r"[a-z_]+(\.[a-z_]+)+")


def in_flags(text: str, flags: Mapping[str, str]) -> str:
    """`text` with each parameter that is a key of `flags` written as its flag."""

    def flag(match: re.Match[str]) -> str:
        name = flags.get(match["name"])
        if name is None:
            return match[0]
        value = match["value"]
        return f"`{name}`" if value in ("", "True") else f"`{name} {shlex.quote(value)}`"

    return _NAMED.sub(flag, text)


def flags_of(parameters: Sequence[Any]) -> dict[str, str]:
    """The flags of a command, by the names of flags and of parameters (`--dedup` is both `dedup` and `dedupe`)."""
    flags = [flag for parameter in parameters for flag in parameter.opts]
    own = {flag.lstrip("-").replace("-", "_"): flag for flag in flags}
    return {parameter.name or "": parameter.opts[0] for parameter in parameters} | own


def notes_in_flags(events: Iterator["Event"], context: typer.Context) -> Iterator["Event"]:
    """`events`, with notes in the flags of the command of `context`."""
    from nima_cli.events import Note

    flags = flags_of(context.command.params)
    for event in events:
        yield replace(event, message=in_flags(event.message, flags)) if isinstance(event, Note) else event


@contextmanager
def flags_named(flags: Mapping[str, str]) -> Iterator[None]:
    """Word the engine's errors in these flags, and in `--tokenizer-from` of `nima data prepare`."""
    try:
        yield
    except NimaError as error:
        known = {"tokenizer_from": "--tokenizer-from", **flags}
        error.message = in_flags(error.message, known)
        error.hint = in_flags(error.hint, known) if error.hint is not None else None
        if isinstance(error, NotPreparedError):
            error.hint = _how_to_prepare(error.folder)
        raise


class Command(TyperCommand):
    """A command that words the engine's errors in its own flags, and whose help may be that of settings."""

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]
        """The parameters; a help text that is a key of the configuration becomes its description and default."""
        parameters: list[Any] = [*super().get_params(ctx)]
        for parameter in parameters:
            if _KEY.fullmatch(getattr(parameter, "help", None) or ""):
                from nima_cli.config.keys import leaves  # slow to import, so not for the help of all commands

                field = leaves()[tuple(parameter.help.split("."))]
                default = "" if field.default is None else f" [default: {field.default}]"
                parameter.help = f"{field.description}{default}"
        return parameters

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        with flags_named(flags_of(self.params)):
            return super().invoke(ctx)


def _how_to_prepare(folder: Path) -> str:
    """The command that makes a dataset in `folder`, or of the files in it."""
    listed = folder.iterdir() if folder.is_dir() and os.access(folder, os.R_OK) else iter(())
    if all(entry.name.startswith(".") for entry in listed):
        return f"make one with `nima data prepare --output-dir {shlex.quote(str(folder))} --text-files ...`"
    made = shlex.quote(str(Path("data") / folder.absolute().name))
    return f"make one of it with `nima data prepare --output-dir {made} --text-files {shlex.quote(str(folder))}`"
