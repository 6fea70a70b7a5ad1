"""What a converter says about a file that it cannot convert; knows nothing of where the file lies."""

import importlib
from typing import Any

from nima_cli.engine.data.diagnostics import UnusableError

__all__ = ["FormatError", "library"]


class FormatError(UnusableError):
    """A file is not what its name says, or cannot be read."""


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
