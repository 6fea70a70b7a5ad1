"""The one place that reads environment variables: those that set keys, and the folder for nima's own files."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from nima_cli.config.keys import KeyPath, leaves
from nima_cli.config.origins import Diagnostic
from nima_cli.config.schema import Config
from nima_cli.config.synonyms import closest
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


def variables(environ: Mapping[str, str] | None = None) -> Iterator[tuple[str, KeyPath, str] | Diagnostic]:
    """Name, key and text of each variable that sets one, as `NIMA_TRAINING__EPOCHS` does; what only looks like it."""
    for name, text in sorted((os.environ if environ is None else environ).items()):
        words = name.upper().removeprefix(PREFIX).lower().split(SEPARATOR)
        if not name.upper().startswith(PREFIX):
            continue
        if len(words) > 1:
            yield name.upper(), tuple(words), text
        elif near_miss := _near_miss(name.upper()):
            yield near_miss


def _near_miss(name: str) -> Diagnostic | None:
    """A variable that would set a key if its underscores were right: it must not be ignored without a word."""
    if name.removeprefix(PREFIX).lower() in Config.model_fields:
        return Diagnostic(name, "names a whole section", f"set one key, as in `{name}{SEPARATOR}KEY`")
    proper = {(PREFIX + "_".join(path)).upper(): (PREFIX + SEPARATOR.join(path)).upper() for path in leaves()}
    near = closest(name, proper, cutoff=0.95)
    return Diagnostic(name, "names no key", f"did you mean `{proper[near]}`, with two underscores?") if near else None
