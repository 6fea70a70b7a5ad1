"""Which entries of a walked folder are left out by name: `data.exclude`, `.gitignore`, and what holds no document.

The last word has `data.exclude`, whose `!pattern` takes back what the others leave out. Rules of the user's account
(git's `core.excludesFile`) are not asked: the same folder gives the same dataset everywhere.
"""

import os
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

_DEPENDENCIES = frozenset(
    {
        "node_modules", "bower_components", "jspm_packages", "site-packages", "dist-packages", "__pypackages__",
        "elm-stuff",
    }
)  # fmt: skip
_BUILT = frozenset({"__pycache__", "_build", "_site", "htmlcov", "buck-out"})
_BUILT_ENDINGS = (".egg-info", ".dist-info", ".egg")
_GENERATED = re.compile(
    r".+\.min\.\w+|.+\.lock|package-lock\.json|npm-shrinkwrap\.json|packages\.lock\.json|pnpm-lock\.yaml|go\.sum"
    r"|search_?index\.js(on)?|.+_pb2(_grpc)?\.pyi?|.+\.pb\.(go|cc|h)"
)
# Entries by which a folder shows that it holds what was installed; a name such as `vendor` alone says nothing.
_INSTALLED_MARKS = frozenset({"pyvenv.cfg", "conda-meta"})
_VENDOR_MARKS = frozenset({"modules.txt", "autoload.php", "composer", "bundle"})
# The mark of https://bford.info/cachedir/, which compilers and checkers leave in their caches.
_CACHE_MARK, _CACHE_SIGNATURE = "CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """How folders are walked.

    Attributes:
        exclude, default_excludes, respect_gitignore: as in `data`.
        skip_unreadable: what may not be read is left out; else it is refused.
        output: where a dataset is about to be written.
    """

    exclude: tuple[str, ...] = ()
    default_excludes: bool = True
    respect_gitignore: bool = True
    skip_unreadable: bool = False
    output: Path | None = None


class _GitIgnore(NamedTuple):
    """A `.gitignore` file, and how a path from the walk's root becomes one from where the file lies."""

    spec: GitIgnoreSpec
    above: str
    below: int

    def says(self, path: str) -> bool | None:
        """Whether to ignore a path; None for nothing."""
        return self.spec.check_file(self.above + path[self.below :]).include


GitIgnores = tuple[_GitIgnore, ...]


class ExcludeRules:
    """The rules of one walk. Paths are relative to its root; those of folders end in `/`, and the root's is empty."""

    def __init__(self, root: Path, options: WalkOptions) -> None:
        self._options = options
        self._exclude = GitIgnoreSpec.from_lines(options.exclude)
        # Patterns may begin with the root as the user wrote it, unless they mean the root itself.
        written = root.as_posix().lstrip("/").removeprefix("./")
        self._root = "" if written in ("", ".") or self._exclude.match_file(f"{written}/") else f"{written}/"

    def of_root(self, root: Path) -> GitIgnores:
        """The `.gitignore` files above the root as far as its repository goes.

        A root that those files ignore was named all the same: then they do not hold below it.
        """
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
        """`outer` with the `.gitignore` of the folder itself; a repository of its own starts anew."""
        if not self._options.respect_gitignore:
            return ()
        if ".git" in names:
            outer = tuple(_GitIgnore(spec, "", len(path)) for spec in _specs(_info_exclude(folder)))
        own = _specs(folder / ".gitignore") if ".gitignore" in names else ()
        return (*outer, *(_GitIgnore(spec, "", len(path)) for spec in own))

    def reason(self, name: str, path: str, ignores: GitIgnores, *, is_link: bool, hidden: bool) -> str | None:
        """Why an entry is left out, in a word; None if it is not.

        Args:
            hidden: hidden entries are asked for.
        """
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
        """Why the whole of a folder is left out, by what is in it; None if it is not."""
        if not self._options.default_excludes or self._excluded(path) is False:
            return None
        vendored = folder.name == "vendor" and not names.isdisjoint(_VENDOR_MARKS)
        if vendored or not names.isdisjoint(_INSTALLED_MARKS):
            return "dependencies"
        cached = _CACHE_MARK in names and _text(folder / _CACHE_MARK).startswith(_CACHE_SIGNATURE)
        return "build" if cached else None

    def _excluded(self, path: str) -> bool | None:
        """What `data.exclude` says of an entry: leave it out, take it, or nothing."""
        if not self._options.exclude:
            return None
        found = [self._exclude.check_file(one) for one in (path, self._root + path if self._root else "") if one]
        last = max(found, key=lambda one: -1 if one.index is None else one.index, default=None)
        return last.include if last is not None else None


def _ignored(path: str, ignores: GitIgnores) -> bool:
    """The innermost file that says something about a path decides."""
    return next((said for one in reversed(ignores) if (said := one.says(path)) is not None), False)


def _info_exclude(repository: Path) -> Path:
    """Where a repository keeps the rules that it does not share; `.git` is a file in a work tree or submodule."""
    git = repository / ".git"
    if os.path.isfile(git):
        git = repository / _text(git).removeprefix("gitdir:").strip()
        common = _text(git / "commondir").strip()
        git = git / common if common else git
    return git / "info" / "exclude"


def _specs(file: Path) -> Iterator[GitIgnoreSpec]:
    """The rules in a file, if there are any; a line that is no pattern says nothing, as to git."""
    lines = [line for line in _text(file).splitlines() if _is_pattern(line)]
    if lines:
        yield GitIgnoreSpec.from_lines(lines)


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ""
