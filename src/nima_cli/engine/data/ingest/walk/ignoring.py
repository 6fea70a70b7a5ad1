"""Decides which entries of a folder to leave out: `data.exclude`, `.gitignore`, and what never holds documents.

`data.exclude` has the last word; its `!pattern` takes back what the others leave out. Rules of the user's account
(git's `core.excludesFile`) do not count: the same folder gives the same dataset everywhere.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

_DEPENDENCIES = frozenset({
    "node_modules", "bower_components", "jspm_packages", "site-packages", "dist-packages", "__pypackages__",
    "elm-stuff",
})  # fmt: skip
_BUILT = frozenset({"__pycache__", "_build", "_site", "htmlcov", "buck-out"})
_BUILT_ENDINGS = (".egg-info", ".dist-info", ".egg")
_GENERATED = re.compile(
    r".+\.min\.\w+|.+\.lock|package-lock\.json|npm-shrinkwrap\.json|packages\.lock\.json|pnpm-lock\.yaml|go\.sum"
    r"|search_?index\.js(on)?|.+_pb2(_grpc)?\.pyi?|.+\.pb\.(go|cc|h)"
)
# Entries that mark a folder of installed packages; the name `vendor` alone proves nothing.
_INSTALLED_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
_VENDOR_MARKS = frozenset({"modules.txt", "autoload.php", "composer", "bundle"})
# Caches are marked as in https://bford.info/cachedir/.
_CACHE_MARK, _CACHE_SIGNATURE = "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """How to walk folders, as in the section `data`."""

    exclude: tuple[str, ...] = ()
    default_excludes: bool = True
    respect_gitignore: bool = True
    skip_unreadable: bool = False  # leave out what may not be read, instead of refusing it
    output: Path | None = None  # where a dataset is about to be written


class _GitIgnore(NamedTuple):
    """A `.gitignore` file; paths from the root of the walk get the prefix `above` or lose `below` characters."""

    spec: GitIgnoreSpec
    above: str
    below: int


GitIgnores = tuple[_GitIgnore, ...]


class ExcludeRules:
    """The rules of one walk. Paths are relative to its root; folders end in `/`, and the root is empty."""

    def __init__(self, root: Path, options: WalkOptions) -> None:
        self._options = options
        self._exclude = GitIgnoreSpec.from_lines(options.exclude)
        # Patterns may begin with the root as the user wrote it, unless they match the root itself.
        written = root.as_posix().lstrip("/").removeprefix("./")
        self._root = "" if written in ("", ".") or self._exclude.match_file(f"{written}/") else f"{written}/"

    def of_root(self, root: Path) -> GitIgnores:
        """The `.gitignore` files above the root in its repository; none if they ignore the root itself."""
        real = Path(os.path.realpath(root))
        parents = (real, *real.parents)
        at = next((index for index, folder in enumerate(parents) if os.path.lexists(folder / ".git")), 0)
        if not self._options.respect_gitignore or at == 0:
            return ()
        bases = parents[at:0:-1]
        files = [(bases[0], _info_exclude(bases[0])), *((base, base / ".gitignore") for base in bases)]
        found = tuple(
            _GitIgnore(spec, f"{real.relative_to(base).as_posix()}/", 0)
            for base, file in files
            for spec in _specs(file)
        )
        return () if _ignored("", found) else found

    def of_folder(self, folder: Path, path: str, names: Set[str], outer: GitIgnores) -> GitIgnores:
        """`outer` with the `.gitignore` of the folder itself; a nested repository starts anew."""
        if not self._options.respect_gitignore:
            return ()
        if ".git" in names:
            outer = tuple(_GitIgnore(spec, "", len(path)) for spec in _specs(_info_exclude(folder)))
        own = _specs(folder / ".gitignore") if ".gitignore" in names else ()
        return (*outer, *(_GitIgnore(spec, "", len(path)) for spec in own))

    def reason(self, name: str, path: str, ignores: GitIgnores, *, is_link: bool, hidden: bool) -> str | None:
        """Why an entry is left out, in a word, or None; with `hidden`, names may begin with a dot."""
        if name == ".git":
            return None if hidden else "hidden"
        own = self._excluded(path)
        if own is not None:
            return "excluded" if own else None
        if self._options.default_excludes:
            if name.startswith(".") and not hidden:
                return "hidden"
            if path.endswith("/"):
                if name in _DEPENDENCIES:
                    return "dependencies"
                if name in _BUILT or name.endswith(_BUILT_ENDINGS):
                    return "build"
            elif _GENERATED.fullmatch(name):
                return "generated"
        # To git a link to a folder is a file.
        return "gitignore" if _ignored(path.rstrip("/") if is_link else path, ignores) else None

    def reason_inside(self, folder: Path, path: str, names: Set[str]) -> str | None:
        """Why a whole folder is left out because of what is in it, or None."""
        if not self._options.default_excludes or self._excluded(path) is False:
            return None
        vendored = folder.name == "vendor" and not names.isdisjoint(_VENDOR_MARKS)
        if vendored or not names.isdisjoint(_INSTALLED_MARKS):
            return "dependencies"
        cached = _CACHE_MARK in names and _text(folder / _CACHE_MARK).startswith(_CACHE_SIGNATURE)
        return "build" if cached else None

    def _excluded(self, path: str) -> bool | None:
        """What `data.exclude` says: leave the entry out, take it, or nothing."""
        if not self._options.exclude:
            return None
        found = [self._exclude.check_file(one) for one in (path, self._root + path if self._root else "") if one]
        last = max(found, key=lambda one: -1 if one.index is None else one.index, default=None)
        return last.include if last is not None else None


def _ignored(path: str, ignores: GitIgnores) -> bool:
    """Whether the innermost file that mentions a path ignores it."""
    said = (spec.check_file(above + path[below:]).include for spec, above, below in reversed(ignores))
    return next((include for include in said if include is not None), False)


def _info_exclude(repository: Path) -> Path:
    """The private rules of a repository, whose `.git` is a file in a work tree or submodule."""
    git = repository / ".git"
    if os.path.isfile(git):
        git = repository / _text(git).removeprefix("gitdir:").strip()
        common = _text(git / "commondir").strip()
        git = git / common if common else git
    return git / "info" / "exclude"


def _specs(file: Path) -> Iterator[GitIgnoreSpec]:
    """The rules in a file, if there are any; like git, we pass over a line that is not a pattern."""
    lines = []
    for line in _text(file).splitlines():
        with contextlib.suppress(ValueError):
            GitIgnoreSpec.from_lines([line])
            lines.append(line)
    if lines:
        yield GitIgnoreSpec.from_lines(lines)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ""
