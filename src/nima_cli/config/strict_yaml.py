"""Reads YAML strictly, with the line of every key, and writes it back.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): `3e-4` is a number, `no` is
text. Duplicate keys, tags, large files, and anchors and aliases, which can expand without bound, are errors.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from nima_cli.config.keys import KeyPath, dotted
from nima_cli.errors import ConfigError
from nima_cli.files import explain

MAX_BYTES = 1_000_000

# Digits are bounded because Python refuses to convert very long ones; what does not match stays text.
_NUMBER = r"[-+]?(\.[0-9]{1,400}|[0-9]{1,400}(\.[0-9]{0,400})?)([eE][-+]?[0-9]{1,400})?"
_SCALARS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "null": (re.compile(r"(~|null|Null|NULL|)\Z"), lambda text: None),
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    "int": (re.compile(r"[-+]?[0-9]{1,400}\Z"), int),
    "float": (
        re.compile(rf"({_NUMBER}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"),
        lambda text: float(re.sub(r"\.(?=[iInN])", "", text)),
    ),
}
_TAG = "tag:yaml.org,2002:"
_TYPED = "invalid value"  # in place of a file's name for a single value
# What the parser says -> what to do about it.
_SYNTAX_HINTS = {
    "\\t": "indent with spaces, not tabs",
    "alias": "put quotes round text that starts with `*` or `&`; write repeated values out",
    "mapping values are not allowed": "put quotes round text that holds `: `, and check the indentation of this line "
    "and the one before",
}


class _Loader(yaml.SafeLoader):
    """A SafeLoader for the core schema, without anchors and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that quotes text which `_Loader` would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}  # those of YAML 1.1, inherited, know dates, `on`, and numbers to base 60


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    """Quote what YAML 1.1 takes for line ends, and would fold in any other style."""
    style = '"' if set(text) & set("\r\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _name, (_pattern, _) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, None)
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, None)


def dump(values: dict[str, Any]) -> str:
    """The text of `values`; `parse` gives equal values back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def inline(value: Any) -> str:
    """One value as it stands after `key: `."""
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()


def read(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The mapping in the file and the line, from 1, of every key and list item in it.

    Raises:
        ConfigError: the file is absent, empty, too large, not UTF-8, not YAML, or not a mapping.
        ResourceError: the system refuses to read it.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, not a file") from None
    except OSError as error:
        raise explain(error, path, "read") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: too large for a config, more than {MAX_BYTES // 1_000_000} MB")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = f"{path}:{line}: not valid UTF-8 (byte {error.start})"
        raise ConfigError(message, hint="save the file as UTF-8") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """As `read`, from text; `name` is that of the file in errors."""
    node = _compose(text, name)
    if node is None:
        raise ConfigError(f"{name}: is empty", hint="delete the option, or write for example `training: {epochs: 1}`")
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{name}:{node.start_mark.line + 1}: expected sections such as `training:` at the top")
    lines: dict[KeyPath, int] = {}
    return _value(node, (), lines, name), lines


def parse_value(text: str) -> Any:
    """A value as typed on a command line or in a variable.

    Only text that opens a bracket or a quote is read as YAML, so that `#`, `:` or `*` in plain text mean themselves.
    """
    text = text.strip()
    if text.startswith(("[", "{", '"', "'")):
        node = _compose(text, _TYPED)
        return None if node is None else _value(node, (), {}, _TYPED)
    return next((convert(text) for pattern, convert in _SCALARS.values() if pattern.match(text)), text)


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{name}:{line}: character U+{ord(text[error.position]):04X} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark and name != _TYPED else name
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        hint = next((hint for words, hint in _SYNTAX_HINTS.items() if words in problem), None)
        raise ConfigError(f"{place}: {problem}", hint=hint) from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deep") from None


def _value(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str) -> Any:
    """The plain value of a node; fills `lines`, and refuses duplicate keys, keys that are not words, and tags."""
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        values = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{name}:{line}: a key must be one word")
            key = (*path, key_node.value)
            if key in lines:
                raise ConfigError(f"{name}:{line}: `{dotted(key)}` is given twice, first in line {lines[key]}")
            lines[key] = line
            values[key_node.value] = _value(value_node, key, lines, name)
        return values
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        lines.update({(*path, index): item.start_mark.line + 1 for index, item in enumerate(node.value)})
        return [_value(item, (*path, index), lines, name) for index, item in enumerate(node.value)]
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.ScalarNode) and kind == "str":
        return node.value
    if isinstance(node, yaml.ScalarNode) and kind in _SCALARS and _SCALARS[kind][0].match(node.value):
        return _SCALARS[kind][1](node.value)
    tag, line = node.tag.replace(_TAG, "!!"), node.start_mark.line + 1
    raise ConfigError(f"{name}:{line}: `{dotted(path)}`: tag `{tag}` is not allowed here")
