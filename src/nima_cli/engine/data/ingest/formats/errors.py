"""What a converter says about a file that it cannot convert; knows nothing of where the file lies."""

import importlib
from typing import Any

__all__ = ["FormatError", "library"]


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
    """A module of the extra `docs`.

    Args:
        format_: what it reads, for messages.

    Raises:
        FormatError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        hint = "install it: `pip install 'nima[docs]'`"
        raise FormatError(
            f"{format_} is read with `{package}`, which is not installed", "needs_extra", "", hint
        ) from error
