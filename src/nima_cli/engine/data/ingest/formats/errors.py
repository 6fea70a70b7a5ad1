"""What a converter says about a file that it cannot convert."""

import importlib
from typing import Any

from nima_cli.engine.data.diagnostics import UnusableError

__all__ = ["FormatError", "first_line", "library"]


class FormatError(UnusableError):
    """A file is not what its name says, or cannot be read."""


def library(name: str, format_: str) -> Any:
    """A module of the extra `docs`; raises `FormatError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        what = f"{format_} is read with `{name.partition('.')[0]}`, which is not installed"
        raise FormatError(what, "needs_extra", hint="install it: `pip install 'nima[docs]'`") from error


def first_line(error: Exception) -> str:
    """What a library says of a damaged file, as a part of our own message."""
    said = (str(error).strip().split("\n")[0] or type(error).__name__)[:200].rstrip(".")
    return said[:1].lower() + said[1:]
