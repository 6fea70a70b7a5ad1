"""Reads the environment variables that set keys."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from nima_cli.config.keys import KeyPath, leaves
from nima_cli.config.origins import Diagnostic
from nima_cli.config.schema import Config
from nima_cli.config.synonyms import closest

PREFIX, SEPARATOR = "NIMA_", "__"


def variables(environ: Mapping[str, str] | None = None) -> Iterator[tuple[str, KeyPath, str] | Diagnostic]:
    """Name, key and text of each variable like `NIMA_TRAINING__EPOCHS`; a diagnostic for what only looks like one."""
    given = os.environ if environ is None else environ
    ours = {name.upper(): text for name, text in sorted(given.items()) if name.upper().startswith(PREFIX)}
    known = {name: text for name, text in ours.items() if _words(name)[0] in Config.model_fields and SEPARATOR in name}
    for path in _leaves(_through_settings(known)) if known else ():
        name = PREFIX + SEPARATOR.join(map(str, path)).upper()
        yield name, path, known[name]
    for name in (name for name in ours if name not in known):
        if SEPARATOR in name:
            yield name, tuple(_words(name)), ours[name]  # of a section that there is not: validation says so
        elif near_miss := _near_miss(name):
            yield near_miss


def _words(name: str) -> list[str]:
    return name.removeprefix(PREFIX).lower().split(SEPARATOR)


def _leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in values.items():
        yield from _leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]


def _through_settings(variables: Mapping[str, str]) -> dict[str, Any]:
    """The variables as nested text, read by pydantic-settings."""
    from pydantic import create_model
    from pydantic_settings import BaseSettings, EnvSettingsSource  # slow to import, and rarely needed

    class Texts(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): text for name, text in variables.items()}

        def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
            return value  # parsed like the text of a flag

    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in Config.model_fields.items()}
    settings = create_model("Variables", __base__=BaseSettings, **fields)
    return Texts(settings, env_prefix=PREFIX, env_nested_delimiter=SEPARATOR)()


def _near_miss(name: str) -> Diagnostic | None:
    """Diagnoses a variable that would set a key if its underscores were right."""
    if name.removeprefix(PREFIX).lower() in Config.model_fields:
        return Diagnostic(name, "names a whole section", f"set one key, as in `{name}{SEPARATOR}KEY`")
    proper = {(PREFIX + "_".join(path)).upper(): (PREFIX + SEPARATOR.join(path)).upper() for path in leaves()}
    near = closest(name, proper, cutoff=0.95)
    return Diagnostic(name, "names no key", f"did you mean `{proper[near]}`, with two underscores?") if near else None
