"""What a converter says about a file that it cannot convert."""

import importlib
from typing import Any

__all__ = ["FormatError", "first_line", "library"]


class FormatError(ValueError):
    """A file is not what its name says, or cannot be read.

    Attributes:
        what: lower-case, no final stop.
        reason: a short key under which drops are counted.
        place: `:line:column` inside the file, or empty.
        hint: what the user can do.
    """

    def __init__(self, what: str, reason: str = "malformed", place: str = "", hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.reason, self.place, self.hint = what, reason, place, hint


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
