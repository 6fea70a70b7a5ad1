"""Imports packages that only some of the work needs."""

from importlib import import_module
from types import ModuleType

from nima_cli.errors import ResourceError


def needed(package: str, *, extra: str, what: str) -> ModuleType:
    """Import a package of one of nima's extras; raises `ResourceError` if it is not installed. `what` needs it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ResourceError(
            f"the package `{package}` is needed for {what}", hint=f"pip install 'nima[{extra}]'"
        ) from error
