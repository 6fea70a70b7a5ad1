"""The error of a file that cannot be converted, and the optional libraries."""

import importlib
from typing import Any


class FormatError(ValueError):
    """A file that cannot be converted; the fields are those of `Problem`, and `place` is `:line:column` or empty."""

    def __init__(self, what: str, reason: str = "malformed", place: str = "", hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.reason, self.place, self.hint = what, reason, place, hint


def library(name: str, format_: str) -> Any:
    """Import a module of the extra `docs`; raises `FormatError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        what = f"{format_} is read with `{name.partition('.')[0]}`, which is not installed"
        raise FormatError(what, "needs_extra", hint="install it: `pip install 'nima[docs]'`") from error


def first_line(error: Exception) -> str:
    """Turn a library's message about a damaged file into a part of our own."""
    said = (str(error).strip().split("\n")[0] or type(error).__name__)[:200].rstrip(".")
    return said[:1].lower() + said[1:]
