"""`DataSource`, the way a Python program names a source of documents."""

from os import PathLike, fspath
from typing import Any

from pydantic import ValidationError

from nima_cli.config.data_schema import SourceConfig
from nima_cli.errors import InputError


class DataSource(SourceConfig):
    """A `SourceConfig` with path and format by position: `DataSource("kubernetes.md", "markdown", weight=2.0)`."""

    def __init__(self, path: str | PathLike[str], format: str | None = None, **settings: Any) -> None:  # noqa: A002
        """Describe a source; raises an InputError if a setting is unknown or has an impossible value.

        Args:
            path: a file, folder, glob, or `builtin:python-docs`.
            format: text, markdown, qa, chat, doc or auto.
            settings: the other fields of `SourceConfig`, such as `weight` and `name`.
        """
        given = {"path": fspath(path), **({} if format is None else {"format": format}), **settings}
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise InputError(f"DataSource {fspath(path)}: `{key}`: {first['msg'].lower()}") from None
