"""Loads the libraries of the extra `docs`, and words what they raise."""

import importlib
from typing import Any

from nima_cli.engine.data.diagnostics import UnusableError


def library(name: str, format_: str) -> Any:
    """Import a module of the extra `docs`; raises `UnusableError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        what = f"{format_} is read with `{name.partition('.')[0]}`, which is not installed"
        raise UnusableError(what, "needs_extra", hint="install it: `pip install 'nima[docs]'`") from error


def first_line(error: Exception) -> str:
    """Turn a library's message about a damaged file into a part of our own."""
    said = (str(error).strip().split("\n")[0] or type(error).__name__)[:200].rstrip(".")
    return said[:1].lower() + said[1:]
