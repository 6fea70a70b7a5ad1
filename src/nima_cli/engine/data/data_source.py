"""A source of documents as a Python program names it."""

from os import PathLike, fspath
from typing import Any

from pydantic import ValidationError

from nima_cli.config.data_schema import SourceConfig
from nima_cli.errors import InputError


class DataSource(SourceConfig):
    """Documents to prepare from, for example `DataSource("kubernetes.md", "markdown", weight=2.0)`.

    It is a `SourceConfig` that takes its path and format by position; what is not given has the default from there.
    """

    def __init__(self, path: str | PathLike[str], format: str | None = None, **settings: Any) -> None:  # noqa: A002
        """Name a source.

        Args:
            path: a file, folder, glob, or `builtin:python-docs`.
            format: text, markdown, qa, chat, doc or auto.
            settings: `weight`, `name` and what else `SourceConfig` has.

        Raises:
            InputError: a setting is unknown or has an impossible value.
        """
        given = {"path": fspath(path), **({} if format is None else {"format": format}), **settings}
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise InputError(f"DataSource {fspath(path)}: `{key}`: {first['msg'].lower()}") from None
