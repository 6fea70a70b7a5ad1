"""Explains what is wrong with a configuration in lines that a user can act on."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from nima_cli.config import keys
from nima_cli.config.keys import KeyPath, dotted, find
from nima_cli.config.origins import Diagnostic, Origin, Settings
from nima_cli.config.section import Section
from nima_cli.config.synonyms import closest, closest_key, nearest
from nima_cli.errors import ConfigError

SHOWN = 20
_KEYS_SHOWN = 8
_SECRET = re.compile(r"(^|_)(api_?key|key|token|pass(word|wd|phrase)|secret|credentials?)$", re.IGNORECASE)


def refusal(diagnostics: Sequence[Diagnostic]) -> ConfigError:
    """One error with a line for each diagnostic; a single one keeps its hint apart."""
    if len(diagnostics) == 1:
        return ConfigError(f"{diagnostics[0].place}: {diagnostics[0].text}", hint=diagnostics[0].hint)
    lines = [f"{one.place}: {one.text}" + (f" ({one.hint})" if one.hint else "") for one in diagnostics[:SHOWN]]
    if len(diagnostics) > SHOWN:
        lines.append(f"and {len(diagnostics) - SHOWN} more problems")
    return ConfigError("\n".join(lines))


def explain(error: ValidationError, settings: Settings) -> list[Diagnostic]:
    """What pydantic found, each where the value was set."""
    found: dict[KeyPath, Diagnostic] = {}
    for detail in error.errors(include_url=False):
        kind, path = detail["type"], detail["loc"]
        if kind == "extra_forbidden":
            for key, origin in settings.setters(path):
                # But in a file a key is written with its sections, which may not exist either.
                whole = path if origin.style == "yaml" else max(path, key, key=len)
                found[whole] = _unknown(whole, origin)
        elif kind == "missing":
            found[path] = Diagnostic(settings.place(path), f"`{dotted(path)}` is missing")
        else:
            while find(path)[0] is None:  # pydantic appends the members of a union
                path = path[:-1]
            if kind == "value_error" and not isinstance(detail["input"], bool):
                diagnostic = _rule(path, str(detail["ctx"]["error"]), settings)
            else:
                diagnostic = _value(path, detail["input"], settings)
            found.setdefault(path, diagnostic)  # a union reports each of its members
    return list(found.values())


def first_refused(section: type[Section], values: Mapping[str, Any]) -> tuple[str, str] | None:
    """The key of the first invalid value, and what that key may hold; None when all values are valid."""
    try:
        section.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        field = section.model_fields[name]
        return name, keys.allowed(field.annotation, field.metadata)
    return None


def _unknown(path: KeyPath, origin: Origin) -> Diagnostic:
    place, name = origin.place(path), str(path[-1])
    names = (known for section in keys.sections().values() for known in section.model_fields)
    if _SECRET.search(name) and not closest(name, names, cutoff=0.8):
        text = f"`{dotted(path)}`: secrets do not belong in a configuration"
        return Diagnostic(place, text, "remove it; use the variable WANDB_API_KEY or `wandb login`")
    return Diagnostic(place, f"unknown key `{dotted(path)}`", _suggestion(name, path[:-1], origin))


def _suggestion(name: str, parent: KeyPath, origin: Origin) -> str | None:
    """The key that was meant: in this section, of this name in another one, or of a similar name anywhere."""
    section = keys.section_type(find(parent)[0])
    here = list(section.model_fields) if section else []
    homes = [home for home, other in keys.plain_sections().items() if home and name in other.model_fields][:3]
    if near := closest_key(name, here):
        return _did_you_mean((*parent, near), origin)
    if homes and origin.style == "yaml":
        return f"move it under {' or '.join(f'`{dotted(home)}:`' for home in homes)}"
    if homes:
        return f"did you mean {' or '.join(f'`{origin.spell((*home, name))}`' for home in homes)}?"
    known = {part: home for home, other in keys.plain_sections().items() for part in reversed(other.model_fields)}
    near = closest_key(name, known)
    if near is None:
        if not here:
            return None
        shown, more = ", ".join(f"`{key}`" for key in here[:_KEYS_SHOWN]), len(here) - _KEYS_SHOWN
        return f"the keys here are {shown}" if more <= 0 else f"there are {shown} and {more} more: see docs/config.md"
    if origin.style != "yaml":
        return _did_you_mean((*known[near], near), origin)
    return f"did you mean `{near}` under `{dotted(known[near])}:`?" if known[near] else None


def _did_you_mean(path: KeyPath, origin: Origin) -> str:
    """Adds the default where it shows how a value looks."""
    field = keys.leaves().get(tuple(str(part) for part in path))
    default = field.get_default() if field else None
    example = str(default).lower() if isinstance(default, bool) else default
    return f"did you mean `{origin.spell(path, example if isinstance(default, int | float) else None)}`?"


def _rule(path: KeyPath, message: str, settings: Settings) -> Diagnostic:
    """A broken rule between keys, shown where the last of the keys that it names was set."""
    named = {(*path, key) for key in re.findall(r"`(\w+)`", message)}
    at = [key for key in settings.given if key in named] or [path]
    return Diagnostic(settings.place(at[-1]), f"`{dotted(path)}`: {message}")


def _value(path: KeyPath, value: Any, settings: Settings) -> Diagnostic:
    annotation, metadata = find(path)
    hint = None
    if isinstance(value, str) and (near := nearest(value, keys.choices(annotation))):
        hint = f"did you mean `{near}`?"
    elif isinstance(value, str) and keys.section_type(annotation):
        hint = f"write `path: {value}`"
    elif isinstance(value, int | float) and keys.takes_text(annotation):
        hint = "put it in quotes"
    text = f"`{dotted(path)}` must be {keys.allowed(annotation, metadata)}, got {_shown(value)}"
    return Diagnostic(settings.place(path), text, hint)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return f"`{'null' if value is None else str(value).lower()}`"
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a section"
    text = str(value)
    return f"`{text if len(text) <= 40 else text[:40] + '…'}`" if text else "nothing"
