"""The one place that reads environment variables: a layer of the configuration, and the folder for nima's own files.

It knows nothing of the other layers. `NIMA_TRAINING__LEARNING_RATE` sets `training.learning_rate`.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nima_cli.config.diagnostics import unknown_variable
from nima_cli.config.keys import KeyPath, leaves
from nima_cli.config.layers import Layer, Problem
from nima_cli.config.schema import Config
from nima_cli.config.strict_yaml import parse_value
from nima_cli.errors import ConfigError, ResourceError

PREFIX, SEPARATOR = "NIMA_", "__"


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for what nima builds for itself: `NIMA_HOME`, or the user's cache folder.

    Raises:
        ConfigError: `NIMA_HOME` begins with a user that there is not.
        ResourceError: the user has no home folder.
    """
    chosen = (os.environ if environ is None else environ).get("NIMA_HOME")
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise ConfigError(f"NIMA_HOME: `{chosen}`: there is no such user", hint="write the whole path") from error
    from platformdirs import user_cache_path

    try:
        folder = user_cache_path("nima", appauthor=False)
    except RuntimeError:
        folder = Path("~")
    if folder.parts[:1] == ("~",):  # what could not be expanded stays as it is, and would be a folder in this one
        raise ResourceError(
            "this user has no home folder, and nima needs a folder for its own files",
            hint="set the variable NIMA_HOME, or HOME, to a folder that can be written",
        )
    return folder


def read(environ: Mapping[str, str] | None = None) -> tuple[Layer, list[Problem]]:
    """The layer of all `NIMA_SECTION__KEY` variables, and a problem for each that names no section."""
    variables = {
        name.upper(): value
        for name, value in sorted((os.environ if environ is None else environ).items())
        if name.upper().startswith(PREFIX)
    }
    paths = {name: tuple(name.removeprefix(PREFIX).lower().split(SEPARATOR)) for name in variables}
    settings = {name: path for name, path in paths.items() if len(path) > 1 and path[0] in Config.model_fields}
    problems = [
        unknown_variable(name, path) for name, path in paths.items() if len(path) > 1 and name not in settings
    ] + [problem for name, path in paths.items() if len(path) == 1 and (problem := _near_miss(name))]
    values = _through_settings({name: variables[name] for name in settings}) if settings else {}
    places: dict[KeyPath, str] = {path: name for name, path in settings.items()}
    return Layer(values, places, "environment"), problems


def _near_miss(name: str) -> Problem | None:
    """A variable that would set a key if its underscores were right: it must not be ignored without a word."""
    if name.removeprefix(PREFIX).lower() in Config.model_fields:
        return Problem(name, "names a whole section", f"set one key, as in `{name}{SEPARATOR}KEY`")
    proper = {(PREFIX + "_".join(path)).upper(): (PREFIX + SEPARATOR.join(path)).upper() for path in leaves()}
    if near := get_close_matches(name, proper, n=1, cutoff=0.95):
        return Problem(name, "names no key", f"did you mean `{proper[near[0]]}`, with two underscores?")
    return None


def _through_settings(variables: Mapping[str, str]) -> dict[str, Any]:
    """The variables as nested values, read by pydantic-settings; values stay text where the schema reads text."""
    from pydantic import create_model
    from pydantic_settings import BaseSettings, EnvSettingsSource  # slow to import, and rarely needed

    class Source(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): None if value == "null" else value for name, value in variables.items()}

        def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
            try:
                return parse_value(value)
            except ConfigError:
                return value  # the validation that follows says what was expected

    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in Config.model_fields.items()}
    settings = create_model("Settings", __base__=BaseSettings, **fields)
    source = Source(settings, env_prefix=PREFIX, env_nested_delimiter=SEPARATOR)
    return source()
