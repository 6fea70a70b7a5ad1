"""The values that were set and the origin of each; a later one is stronger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nima_cli.config.keys import KeyPath, dotted, find, section_type


@dataclass(frozen=True)
class Diagnostic:
    """One thing wrong: where (`file:line`, variable or flag), what, and what to do about it."""

    place: str
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Origin:
    """A file, variable, flag or other place that sets keys; `style` is how it writes them, `lines` where in a file."""

    name: str
    style: Literal["yaml", "environment", "command line"] = "yaml"
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """Where `path` stands; a key that is absent stands where its section does."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)
        return self.name if line is None else f"{self.name}:{line}"

    def spell(self, path: KeyPath, value: Any = None) -> str:
        """How a user would write `path` there, with `value` unless that is None."""
        if self.style == "yaml":
            return str(path[-1]) if value is None else f"{path[-1]}: {value}"
        name = "NIMA_" + "__".join(map(str, path)).upper() if self.style == "environment" else dotted(path)
        return name if value is None else f"{name}={value}"


@dataclass
class Settings:
    """Value and origin of each key, weakest first: sections are flattened, lists are values."""

    given: dict[KeyPath, tuple[Any, Origin]] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def set(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Set the key at `path`, or each key of a section; an empty section sets nothing."""
        section = section_type(find(path)[0])
        if isinstance(value, dict) and (value or section):
            for key, inner in value.items():
                self.set((*path, key), inner, origin)
        elif section is None:
            self.given.pop(path, None)  # what is set again is last
            self.given[path] = (value, origin)
        elif value is not None:
            keys = ", ".join(f"`{name}`" for name in section.model_fields)
            text = f"`{dotted(path)}` is a section of keys, not a value"
            self.diagnostics.append(Diagnostic(origin.place(path), text, f"its keys are {keys}"))

    def nested(self) -> dict[str, Any]:
        """The values with each section as a dict."""
        nested: dict[Any, Any] = {}
        for path, (value, _) in self.given.items():
            section = nested
            for part in path[:-1]:
                if not isinstance(section.get(part), dict):
                    section[part] = {}
                section = section[part]
            section[path[-1]] = dict(value) if isinstance(value, dict) else value
        return nested

    def setters(self, path: KeyPath) -> list[tuple[KeyPath, Origin]]:
        """What was set at, below or above `path`, and by whom; weakest first."""
        return [(key, origin) for key, (_, origin) in self.given.items() if key[: len(path)] == path[: len(key)]]

    def place(self, path: KeyPath) -> str:
        """Where the value at `path` was set, or the section that should hold it."""
        setters = self.setters(path)
        return setters[-1][1].place(path) if setters else "config"
