"""Values by key with the origin of each: what is set later is stronger, and every key knows who set it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nima_cli.config.keys import KeyPath, dotted, section_at


@dataclass(frozen=True)
class Diagnostic:
    """One thing wrong: where (`file:line`, variable or flag), what, and what to do about it."""

    place: str
    text: str
    hint: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where settings come from.

    Attributes:
        name: of the file, variable, flag or other origin.
        style: how keys are written there, for hints.
        lines: of the keys and list items of a file.
    """

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


class Settings:
    """Values of keys; sections are taken apart, lists are values.

    Attributes:
        diagnostics: values that stand in the place of a section.
    """

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._given: dict[KeyPath, tuple[Any, Origin]] = {}

    def __iter__(self) -> Iterator[tuple[KeyPath, Any, Origin]]:
        """Every key, value and origin, weakest first."""
        return ((path, value, origin) for path, (value, origin) in self._given.items())

    def set(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Give the key or section at `path` a value, over what it had; an empty section says nothing."""
        section = section_at(path)
        if isinstance(value, dict) and (value or section):
            for key, inner in value.items():
                self.set((*path, key), inner, origin)
        elif section is None:
            self._given.pop(path, None)  # what is set again is last
            self._given[path] = (value, origin)
        elif value is not None:
            keys = ", ".join(f"`{name}`" for name in section.model_fields)
            text = f"`{dotted(path)}` is a section of keys, not a value"
            self.diagnostics.append(Diagnostic(origin.place(path), text, f"its keys are {keys}"))

    def get(self, path: KeyPath, default: Any) -> Any:
        """The value of a key that holds one."""
        return self._given.get(path, (default,))[0]

    def nested(self) -> dict[str, Any]:
        """Sections as dicts."""
        nested: dict[Any, Any] = {}
        for path, (value, _) in self._given.items():
            section = nested
            for part in path[:-1]:
                if not isinstance(section.get(part), dict):
                    section[part] = {}
                section = section[part]
            section[path[-1]] = dict(value) if isinstance(value, dict) else value
        return nested

    def setters(self, path: KeyPath) -> list[tuple[KeyPath, Origin]]:
        """What was set at, below or above `path`, and by whom; weakest first."""
        return [(key, origin) for key, _, origin in self if key[: len(path)] == path[: len(key)]]

    def place(self, path: KeyPath) -> str:
        """Where the value at `path` was set, or the section that should hold it."""
        setters = self.setters(path)
        return setters[-1][1].place(path) if setters else "config"
