"""Defaults, preset, YAML, environment, flags and `--set` become one validated Config; knows nothing of what uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nima_cli.config import environ as environment
from nima_cli.config import strict_yaml
from nima_cli.config.diagnostics import explain, refusal
from nima_cli.config.keys import KeyPath, dotted, leaves
from nima_cli.config.layers import Layer, Problem, highest, merge, named, nest, shaped
from nima_cli.config.schema import PRESETS, Config, ModelConfig
from nima_cli.errors import ConfigError

# Flags that are not the last part of their key.
_FLAGS = {
    "model.preset": "--preset",
    "data.dir": "--data",
    "data.dedupe": "--dedup",
    "data.sources": "command line",
    "data.fields": "--field",
}
_PRESET: KeyPath = ("model", "preset")
# Keys whose null says `as below`: what a preset gives, or what the recipe chose when the run began.
_LEFT_OPEN: dict[str, set[str]] = {
    "model": {key for preset in PRESETS.values() for key in preset["model"]},
    "training": {"epochs", "batch_size", "learning_rate", "weight_decay", "embedding_weight_decay"},
}


@dataclass(frozen=True)
class Resolved:
    """A configuration, and where each of its values comes from.

    `sources` has every dotted key: `default`, `preset gpt-tiny`, `file.yaml:12`, `NIMA_TRAINING__EPOCHS`, `--epochs`,
    `--set` or `checkpoint`.
    """

    config: Config
    sources: dict[str, str]


def load_config(
    path: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    set_: Sequence[str] = (),
    preset: str | None = None,
    base: dict[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Lay the layers over each other, weakest first, and validate the result once.

    Args:
        path: the YAML file.
        overrides: values of named flags by dotted key; None means that the flag was not given.
        set_: `section.key=value`, as typed after `--set`; the strongest layer, a later one wins.
        preset: the value of `--preset`.
        base: the resolved values of a checkpoint, in place of defaults and preset.
        environ: the environment; by default that of the process.

    Raises:
        ConfigError: anything wrong in any layer, a line for each problem.
        ResourceError: the file cannot be read.
    """
    variables, problems = environment.read(environ)
    flags = {"model.preset": preset, **(overrides or {})}
    given = [_file(path)] if path else []
    given += [variables, _flags(flags), _set(set_, problems)]
    upper: list[Layer] = []
    for layer in given:
        fitted, found = shaped(layer)
        upper.append(fitted)
        problems += found
    layers = _with_foundation(upper, base)
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer.values)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        problems += explain(error, layers)
    if problems:
        raise refusal(problems)
    return Resolved(config, {dotted(key): _source(key, layers) for key in leaves()})


def dump_yaml(config: Config) -> str:
    """The whole configuration as YAML; loading it gives an equal one, whatever the presets will be then."""
    return strict_yaml.dump(config.model_dump(mode="json"))


def _file(path: Path) -> Layer:
    values, lines = strict_yaml.read(path)
    return Layer(values, {(): str(path), **{key: f"{path}:{line}" for key, line in lines.items()}})


def _flags(overrides: Mapping[str, Any]) -> Layer:
    given: dict[KeyPath, Any] = {tuple(key.split(".")): value for key, value in overrides.items() if value is not None}
    places = {path: _FLAGS.get(dotted(path), "--" + str(path[-1]).replace("_", "-")) for path in given}
    return Layer(nest(given), places, "command line")


def _set(assignments: Sequence[str], problems: list[Problem]) -> Layer:
    given: dict[KeyPath, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or len(path) < 2:
            # What was typed may hold a secret, so it is not repeated here.
            problems.append(Problem("--set", "expected `section.key=value`", "for example `training.epochs=3`"))
            continue
        try:
            value = strict_yaml.parse_value(text)
        except ConfigError as error:
            problems.append(Problem("--set", f"`{key.strip()}`: {error.message}", error.hint))
            continue
        given.pop(path, None)  # so that the later one is also merged later
        given[path] = value
    return Layer(nest(given), {(): "--set"}, "command line")


def _with_foundation(upper: Sequence[Layer], base: dict[str, Any] | None) -> list[Layer]:
    """The layers with the checkpoint or the preset below them; pydantic supplies the defaults.

    Over a checkpoint a preset counts only when it is another one: sizes of the checkpoint that differ from its own
    preset stay as they are.
    """
    own = ModelConfig.model_fields["preset"].default if base is None else base.get("model", {}).get("preset")
    strongest = highest(upper, _PRESET)
    chosen = strongest.values["model"]["preset"] if strongest else own
    foundation = [] if base is None else [named(base, "checkpoint")]
    if (base is None or chosen != own) and isinstance(chosen, str) and chosen in PRESETS:
        foundation.append(named(dict(PRESETS[chosen]), f"preset {chosen}"))
    return [*foundation, *(_without_nulls(layer) if foundation else layer for layer in upper)]


def _without_nulls(layer: Layer) -> Layer:
    """The layer without keys that are left open by a null, which must not hide what is below."""
    values = dict(layer.values)
    for section, names in _LEFT_OPEN.items():
        if section in values:
            given = values[section].items()
            values[section] = {key: value for key, value in given if value is not None or key not in names}
    return Layer(values, layer.places, layer.style)


def _source(key: tuple[str, ...], layers: Sequence[Layer]) -> str:
    layer = highest(layers, key)
    return layer.place(key) if layer else "default"
