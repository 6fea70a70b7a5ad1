"""Turns what is wrong with a configuration into lines a user can act on; knows nothing of files or the environment."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from nima_cli.config.keys import (
    KeyPath,
    allowed,
    choices,
    dotted,
    find,
    leaves,
    section_at,
    section_type,
    sections,
    takes_text,
)
from nima_cli.config.layers import Layer, Problem, highest
from nima_cli.config.section import Section
from nima_cli.config.synonyms import key_for, nearest
from nima_cli.errors import ConfigError

SHOWN = 20
_KEYS_SHOWN = 8
_SECRET = re.compile(r"(^|_)(api_?key|key|token|pass(word|wd|phrase)|secret|credentials?)$", re.IGNORECASE)


def refusal(problems: Sequence[Problem]) -> ConfigError:
    """One error with a line for each problem; a single one keeps its hint apart."""
    if len(problems) == 1:
        return ConfigError(f"{problems[0].place}: {problems[0].text}", hint=problems[0].hint)
    lines = [
        f"{problem.place}: {problem.text}" + (f" ({problem.hint})" if problem.hint else "")
        for problem in problems[:SHOWN]
    ]
    if len(problems) > SHOWN:
        lines.append(f"and {len(problems) - SHOWN} more problems")
    return ConfigError("\n".join(lines))


def explain(error: ValidationError, layers: Sequence[Layer]) -> list[Problem]:
    """What pydantic found, each at the place of the layer that it comes from (weakest layer first)."""
    problems: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        kind, path = detail["type"], _known_part(detail["loc"])
        if kind == "extra_forbidden":
            path = detail["loc"]
            problem = _unknown(path, _setter(layers, path))
        elif kind == "missing":
            path = detail["loc"]
            problem = Problem(_setter(layers, path[:-1]).place(path), f"`{dotted(path)}` is missing")
        elif kind == "value_error" and not isinstance(detail["input"], bool):
            problem = _rule(path, str(detail["ctx"]["error"]), layers)
        else:
            problem = _value(path, detail["input"], _setter(layers, path))
        problems.setdefault(path, problem)  # a union reports each of its members
    return list(problems.values())


def first_refused(section: type[Section], values: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first of the values that a section does not take: its key, and what that may hold; None when it takes all."""
    try:
        section.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        field = section.model_fields[name]
        return name, allowed(field.annotation, field.metadata)
    return None


def unknown_variable(name: str, path: KeyPath) -> Problem:
    """An environment variable that names no key."""
    return _unknown(path, Layer({}, {(): name}, "environment"))


def _unknown(path: KeyPath, layer: Layer) -> Problem:
    place, name, parent = layer.place(path), str(path[-1]), path[:-1]
    section = section_at(parent)
    here = list(section.model_fields) if section else []
    if _SECRET.search(name) and not get_close_matches(name, _names(), n=1, cutoff=0.8):
        text = f"`{dotted(path)}`: secrets do not belong in a configuration"
        return Problem(place, text, "remove it; use the variable WANDB_API_KEY or `wandb login`")
    return Problem(place, f"unknown key `{dotted(path)}`", _suggestion(name, parent, here, layer))


def _suggestion(name: str, parent: KeyPath, here: list[str], layer: Layer) -> str | None:
    elsewhere = _homes(name)
    if near := key_for(name, here) or next(iter(get_close_matches(name.lower(), here, n=1)), None):
        found: KeyPath = (*parent, near)
    elif elsewhere and layer.style == "yaml":
        return f"move it under {' or '.join(f'`{dotted(home)}:`' for home in elsewhere[:3])}"
    elif elsewhere:
        return f"did you mean {' or '.join(f'`{layer.spell((*home, name))}`' for home in elsewhere[:3])}?"
    else:
        known = {part: home for home, section in _plain_sections() for part in reversed(section.model_fields)}
        anywhere = key_for(name, known) or next(iter(get_close_matches(name.lower(), known, n=1)), None)
        if anywhere is None:
            return _listed(here) if here else None
        found = (*known[anywhere], anywhere)
        if layer.style == "yaml":
            return f"did you mean `{found[-1]}` under `{dotted(found[:-1])}:`?" if found[:-1] else None
    return f"did you mean `{layer.spell(found, _example(found))}`?"


def _listed(keys: Sequence[str]) -> str:
    """The keys of a section, as far as a line holds them."""
    shown = ", ".join(f"`{key}`" for key in keys[:_KEYS_SHOWN])
    more = len(keys) - _KEYS_SHOWN
    return f"the keys here are {shown}" if more <= 0 else f"there are {shown} and {more} more: see docs/config.md"


def _example(path: KeyPath) -> Any:
    """The default of a key where that shows how a value looks."""
    field = leaves().get(tuple(str(part) for part in path))
    default = field.get_default() if field else None
    return str(default).lower() if isinstance(default, bool) else default if isinstance(default, int | float) else None


def _plain_sections() -> Iterable[tuple[KeyPath, type[Section]]]:
    return ((path, section) for path, section in sections().items() if not any(part.endswith("[]") for part in path))


def _names() -> list[str]:
    return [name for section in sections().values() for name in section.model_fields]


def _homes(name: str) -> list[KeyPath]:
    return [path for path, section in _plain_sections() if path and name in section.model_fields]


def _rule(path: KeyPath, message: str, layers: Sequence[Layer]) -> Problem:
    """A broken rule between keys: it is shown where the strongest layer sets one of the keys that the rule names."""
    named = [(*path, key) for key in re.findall(r"`(\w+)`", message) if find((*path, key))]
    setters = [layer for layer in reversed(layers) for key in named if layer.has(key)]
    layer = setters[0] if setters else _setter(layers, path)
    at = next((key for key in named if layer.has(key)), path)
    return Problem(layer.place(at), f"`{dotted(path)}`: {message}")


def _value(path: KeyPath, value: Any, layer: Layer) -> Problem:
    annotation, metadata = find(path) or (str, ())
    text = f"`{dotted(path)}` must be {allowed(annotation, metadata)}, got {_shown(value)}"
    hint = None
    if isinstance(value, str) and (near := nearest(value, choices(annotation))):
        hint = f"did you mean `{near}`?"
    elif isinstance(value, str) and section_type(annotation):
        hint = f"write `path: {value}`"
    elif isinstance(value, int | float) and takes_text(annotation):
        hint = "put it in quotes"
    return Problem(layer.place(path), text, hint)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return f"`{'null' if value is None else str(value).lower()}`"
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a section"
    text = str(value)
    return f"`{text if len(text) <= 40 else text[:40] + '…'}`" if text else "nothing"


def _known_part(path: KeyPath) -> KeyPath:
    """`path` without what pydantic adds to it for the members of a union."""
    while find(path) is None:
        path = path[:-1]
    return path


def _setter(layers: Sequence[Layer], path: KeyPath) -> Layer:
    """The layer to blame for `path`: the strongest one that sets it, or the section that should hold it."""
    for end in range(len(path), 0, -1):
        if layer := highest(layers, path[:end]):
            return layer
    return layers[-1]
