"""Merges defaults, preset, YAML, environment, flags and `--set` into one validated Config."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nima_cli.config import strict_yaml
from nima_cli.config.diagnostics import explain, refusal
from nima_cli.config.keys import KeyPath, dotted, find, leaves, takes_text
from nima_cli.config.origins import Diagnostic, Origin, Settings
from nima_cli.config.schema import PRESETS, Config, ModelConfig
from nima_cli.config.synonyms import closest
from nima_cli.errors import ConfigError

PREFIX, SEPARATOR = "NIMA_", "__"
# Flags that are not the last part of their key.
_FLAGS = {
    "model.preset": "--preset", "data.dir": "--data", "data.dedupe": "--dedup", "data.sources": "command line",
    "data.fields": "--field",
}  # fmt: skip
# Keys whose null says `as below`: what a preset gives, or what was chosen when the run began.
_LEFT_OPEN: set[KeyPath] = {("model", key) for preset in PRESETS.values() for key in preset["model"]} | {
    ("training", key) for key in ("epochs", "batch_size", "learning_rate", "weight_decay", "embedding_weight_decay")
}


@dataclass(frozen=True)
class Resolved:
    """A configuration, and the origin of every dotted key: `default`, `file.yaml:12`, `--epochs` or the like."""

    config: Config
    origins: dict[str, str]


def load_config(
    path: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    set_: Sequence[str] = (),
    preset: str | None = None,
    base: dict[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge all settings, weakest first, and validate the result once.

    Args:
        path: the YAML file.
        overrides: values of flags by dotted key; None means that the flag was not given.
        set_: `section.key=value` from `--set`; the strongest, and a later one wins.
        base: the resolved values of a checkpoint, in place of defaults and preset.
        environ: by default the process's own.

    Raises:
        ConfigError: anything wrong in any of them, a line for each.
        ResourceError: the file cannot be read.
    """
    given = Settings()
    if path is not None:
        values, lines = strict_yaml.read(path)
        given.set((), values, Origin(str(path), lines=lines))
    for variable in _variables(environ):
        if isinstance(variable, Diagnostic):
            given.diagnostics.append(variable)
        else:
            name, key, text = variable
            _set_text(given, key, text, Origin(name, "environment"))
    for dotted_key, value in {"model.preset": preset, **(overrides or {})}.items():
        if value is not None:
            flag = _FLAGS.get(dotted_key) or "--" + dotted_key.split(".")[-1].replace("_", "-")
            given.set(tuple(dotted_key.split(".")), value, Origin(flag, "command line"))
    for assignment in set_:
        dotted_key, equals, text = assignment.partition("=")
        key = tuple(dotted_key.strip().split("."))
        if equals and len(key) > 1:
            _set_text(given, key, text, Origin("--set", "command line"))
        else:  # what was typed may hold a secret, so it is not repeated here
            hint = "for example `training.epochs=3`"
            given.diagnostics.append(Diagnostic("--set", "expected `section.key=value`", hint))
    return _validated(_over_foundation(given, base))


def dump_yaml(config: Config) -> str:
    """The whole configuration as YAML, which loads as an equal one even when presets have changed."""
    return strict_yaml.dump(config.model_dump(mode="json"))


def _variables(environ: Mapping[str, str] | None = None) -> Iterator[tuple[str, KeyPath, str] | Diagnostic]:
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


def _set_text(settings: Settings, path: KeyPath, text: str, origin: Origin) -> None:
    """Parse and set what was typed; for a key that holds text, a number or a bracket means itself."""
    holds_text = takes_text(find(path)[0])
    try:
        value = text if holds_text and text.startswith(("[", "{")) else strict_yaml.parse_value(text)
    except ConfigError as error:
        settings.diagnostics.append(Diagnostic(origin.name, f"`{dotted(path)}`: {error.message}", error.hint))
    else:
        settings.set(path, text if holds_text and isinstance(value, int | float) else value, origin)


def _over_foundation(given: Settings, base: dict[str, Any] | None) -> Settings:
    """What was given, over the checkpoint or the preset; over a checkpoint only another preset than its own counts."""
    settings = Settings()
    own = ModelConfig.model_fields["preset"].default if base is None else base.get("model", {}).get("preset")
    if base is not None:
        settings.set((), base, Origin("checkpoint"))
    chosen, _ = given.given.get(("model", "preset"), (own, None))
    if (base is None or chosen != own) and isinstance(chosen, str) and chosen in PRESETS:
        settings.set((), PRESETS[chosen], Origin(f"preset {chosen}"))
    has_foundation = bool(settings.given)
    for path, (value, origin) in given.given.items():
        if value is not None or path not in _LEFT_OPEN or not has_foundation:
            settings.set(path, value, origin)
    settings.diagnostics += given.diagnostics
    return settings


def _validated(settings: Settings) -> Resolved:
    diagnostics = settings.diagnostics
    try:
        config = Config.model_validate(settings.nested())
    except ValidationError as error:
        raise refusal([*diagnostics, *explain(error, settings)]) from None
    if diagnostics:
        raise refusal(diagnostics)
    set_by = {key[:end]: origin for key, (_, origin) in settings.given.items() for end in range(1, len(key) + 1)}
    origins = {dotted(path): set_by[path].place(path) if path in set_by else "default" for path in leaves()}
    return Resolved(config, origins)
