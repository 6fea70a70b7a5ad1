"""What modules import, read from their source: our package and its tests."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nima_cli

SOURCE, TESTS = Path(nima_cli.__file__).parent, Path(__file__).parent


@dataclass(frozen=True)
class Import:
    """One name that a module imports; `lazy` inside a function, `typing` under `if TYPE_CHECKING`."""

    importer: str
    imported: str
    line: int
    lazy: bool
    typing: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def _sources(folder: Path) -> dict[str, str]:
    """The text of each module by its full name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        found[module_name(path, folder)] = path.read_text("utf-8")
    return found


def module_name(path: Path, package: Path = TESTS) -> str:
    """The full name of a module in the folder of a package."""
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = _sources(SOURCE)


def imports(importer: str, source: str) -> Iterator[Import]:
    """Every import in `source`, wherever it stands."""

    def walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield from (Import(importer, name, child.lineno, lazy, typing) for name in _names(importer, child))
            elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):  # no expression imports
                inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                checked = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
                yield from walk(child, inside, typing or checked)

    yield from walk(ast.parse(source), False, False)


def _names(importer: str, statement: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    assert statement.level == 0, f"{importer}:{statement.lineno} imports relatively"
    return [_target(statement.module or "", alias.name) for alias in statement.names]


def _target(module: str, name: str) -> str:
    """`from package import module` means the module, `from module import name` the module too."""
    return f"{module}.{name}" if f"{module}.{name}" in SOURCES else module


@functools.cache
def _loaded_at_once(module: str) -> list[str]:
    """What a module imports as soon as it is imported itself, and the packages that it is in."""
    packages = [".".join(module.split(".")[:end]) for end in range(1, module.count(".") + 1)]
    found = imports(module, _all_sources().get(module, ""))
    return packages + [one.imported for one in found if not (one.lazy or one.typing)]


@functools.cache
def _all_sources() -> dict[str, str]:
    return {**SOURCES, **_sources(TESTS)}


@functools.cache
def _loaded_with(module: str) -> frozenset[str]:
    """Modules of ours and libraries that are loaded as soon as `module` is."""
    found, waiting = set[str](), [module]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += _loaded_at_once(name)
    return frozenset(found)


def loads(module: str, library: str) -> bool:
    """Whether importing `module`, one of ours or of the tests, imports `library`."""
    return library in _loaded_with(module)
