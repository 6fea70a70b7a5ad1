"""A layer of values that remembers where each came from, and how layers are laid over each other; validates nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nima_cli.config.keys import KeyPath, dotted, section_at

Style = Literal["yaml", "environment", "command line"]


@dataclass(frozen=True)
class Problem:
    """One thing wrong: where (`file:line`, variable or flag), what, and what to do about it."""

    place: str
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Layer:
    """Nested values from one origin.

    Args:
        values: sections as dicts, as in YAML.
        places: where a key stands, for the user; a key that is absent stands where its section does.
        style: how keys are written there, for hints.
    """

    values: dict[str, Any]
    places: Mapping[KeyPath, str] = field(default_factory=dict)
    style: Style = "yaml"

    def has(self, path: KeyPath) -> bool:
        """Whether the layer says something at `path`."""
        value: Any = self.values
        for part in path:
            inside = part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))
            if not inside:
                return False
            value = value[part]
        return True

    def place(self, path: KeyPath) -> str:
        """Where `path` stands in this layer."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return "config"

    def spell(self, path: KeyPath, value: Any = None) -> str:
        """How a user would write `path` in this layer, with `value` unless that is None."""
        name, equals = (path[-1] if path else ""), "="
        if self.style == "environment":
            name = "NIMA_" + "__".join(str(part) for part in path).upper()
        elif self.style == "command line":
            name = dotted(path)
        else:
            equals = ": "
        return f"{name}" if value is None else f"{name}{equals}{value}"


def named(values: dict[str, Any], name: str) -> Layer:
    """A layer whose every value comes from one place, such as `checkpoint`."""
    return Layer(values, {(): name})


def nest(flat: Mapping[KeyPath, Any]) -> dict[str, Any]:
    """Nested dicts from values by path; later ones win, sections are merged."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        for part in reversed(path):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, section by section; a list replaces the whole list below it."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def shaped(layer: Layer) -> tuple[Layer, list[Problem]]:
    """The layer with every section a dict: an empty section says nothing, a value in its place is a problem.

    Done for each layer alone, because in a merge a section from above would hide the value below it.
    """
    problems: list[Problem] = []

    def shape(values: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in values.items():
            here = (*path, key)
            section = section_at(here)
            if section is None:
                result[key] = value
            elif isinstance(value, dict):
                result[key] = shape(value, here)
            elif value is not None:
                text = f"`{dotted(here)}` is a section of keys, not a value"
                keys = ", ".join(f"`{name}`" for name in section.model_fields)
                problems.append(Problem(layer.place(here), text, f"its keys are {keys}"))
        return result

    return Layer(shape(layer.values, ()), layer.places, layer.style), problems


def highest(layers: Sequence[Layer], path: KeyPath) -> Layer | None:
    """The last of the layers, which are ordered from weakest to strongest, that sets `path`."""
    return next((layer for layer in reversed(layers) if layer.has(path)), None)
