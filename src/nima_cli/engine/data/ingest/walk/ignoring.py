"""Decides which entries of a walked folder are left out by name: `data.exclude`, `.gitignore`, what no document is in.

The last word has `data.exclude`, whose `!pattern` takes back what the others leave out. Rules of the user's account
(git's `core.excludesFile`) are not asked: the same folder gives the same dataset everywhere.
"""

import os
import re
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

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
_CACHE_MARK, _CACHE_SIGNATURE = "CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55"


@dataclass(frozen=True, slots=True)
class Leaving:
    """What is left out of every folder that is walked; the fields are keys of `data`."""

    exclude: tuple[str, ...] = ()
    default_excludes: bool = True
    respect_gitignore: bool = True


@dataclass(frozen=True, slots=True)
class FolderRules:
    """What holds for the entries of one folder; make the first with `rules_for`.

    Attributes:
        below: the folder's path below the source's root, `a/b/`, or empty.
        written: the root's path as the user wrote it, `docs/`, or empty where patterns cannot mean it.
        ignoring: the `.gitignore` files that hold here, each with the path of this folder from its own.
    """

    leaving: Leaving
    excluding: GitIgnoreSpec
    below: str
    written: str
    ignoring: tuple[tuple[GitIgnoreSpec, str], ...] = ()

    def entered(self, name: str) -> "FolderRules":
        """The rules of a folder in this one."""
        ignoring = tuple((spec, f"{path}{name}/") for spec, path in self.ignoring)
        return replace(self, below=f"{self.below}{name}/", ignoring=ignoring)

    def opened(self, folder: Path, names: Set[str]) -> "FolderRules":
        """The rules with those that the folder itself brings along; a repository of its own starts anew."""
        if not self.leaving.respect_gitignore:
            return self
        ignoring = self.ignoring
        if ".git" in names:
            ignoring = tuple((spec, "") for spec in _specs(_info_exclude(folder)))
        if ".gitignore" in names:
            ignoring += tuple((spec, "") for spec in _specs(folder / ".gitignore"))
        return replace(self, ignoring=ignoring)

    def reason(self, name: str, *, is_folder: bool, is_link: bool, hidden: bool) -> str | None:
        """Why an entry is left out, in a word; None if it is not.

        Args:
            hidden: hidden entries are asked for.
        """
        if name == ".git":
            return None if hidden else "hidden"
        own = self._excluded(f"{name}/" if is_folder else name)
        if own is not None:
            return "excluded" if own else None
        if self.leaving.default_excludes:
            if name.startswith(".") and not hidden:
                return "hidden"
            by_default = _folder_reason(name) if is_folder else _file_reason(name)
            if by_default is not None:
                return by_default
        # To git a link to a folder is a file.
        return "gitignore" if self._ignored(f"{name}/" if is_folder and not is_link else name) else None

    def installed(self, folder: Path, names: Set[str]) -> str | None:
        """Why the whole of a folder is left out, by what is in it; None if it is not."""
        if not self.leaving.default_excludes or self._excluded("") is False:
            return None
        vendored = folder.name == "vendor" and not names.isdisjoint(_VENDOR_MARKS)
        if vendored or not names.isdisjoint(_INSTALLED_MARKS):
            return "dependencies"
        return "build" if _CACHE_MARK in names and _is_cache(folder / _CACHE_MARK) else None

    def _excluded(self, name: str) -> bool | None:
        """What `data.exclude` says of an entry: leave it out, take it, or nothing."""
        if not self.leaving.exclude:
            return None
        path = self.below + name
        places = [place for place in (path, self.written + path if self.written else "") if place]
        found = [self.excluding.check_file(place) for place in places]
        last = max(found, key=lambda one: -1 if one.index is None else one.index, default=None)
        return last.include if last is not None else None

    def _ignored(self, name: str) -> bool:
        for spec, path in reversed(self.ignoring):
            said = spec.check_file(path + name).include
            if said is not None:
                return said
        return False


def rules_for(root: Path, leaving: Leaving) -> FolderRules:
    """The rules at the root of a walk; what lies above it is asked for its `.gitignore` as far as its repository goes.

    A root that those rules ignore was named all the same: then they do not hold below it.
    """
    excluding = GitIgnoreSpec.from_lines(leaving.exclude)
    written = root.as_posix().lstrip("/").removeprefix("./")
    written = "" if written in ("", ".") or excluding.match_file(f"{written}/") else f"{written}/"
    rules = FolderRules(leaving, excluding, "", written)
    return replace(rules, ignoring=_above(root)) if leaving.respect_gitignore else rules


def _above(root: Path) -> tuple[tuple[GitIgnoreSpec, str], ...]:
    real = Path(os.path.realpath(root))
    repository = next((folder for folder in (real, *real.parents) if os.path.lexists(folder / ".git")), None)
    if repository is None or repository == real:
        return ()
    folders = [folder for folder in (real, *real.parents) if folder.is_relative_to(repository)][::-1]
    found = [(folder, spec) for folder in folders[:-1] for spec in _specs(folder / ".gitignore")]
    found = [*((repository, spec) for spec in _specs(_info_exclude(repository))), *found]
    chain = tuple((spec, f"{real.relative_to(folder).as_posix()}/") for folder, spec in found)
    for spec, path in reversed(chain):
        said = spec.check_file(path).include
        if said is not None:
            return () if said else chain
    return chain


def _info_exclude(repository: Path) -> Path:
    """Where a repository keeps the rules that it does not share; `.git` is a file in a work tree or submodule."""
    git = repository / ".git"
    if os.path.isfile(git):
        place = _text(git).removeprefix("gitdir:").strip()
        git = repository / place
        common = _text(git / "commondir").strip()
        git = git / common if common else git
    return git / "info" / "exclude"


def _specs(file: Path) -> list[GitIgnoreSpec]:
    """The rules in a file, if there are any; a line that is no pattern says nothing, as to git."""
    lines = [line for line in _text(file).splitlines() if is_pattern(line)]
    return [GitIgnoreSpec.from_lines(lines)] if lines else []


def is_pattern(line: str) -> bool:
    """Whether a line is one of a `.gitignore` file."""
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


def _folder_reason(name: str) -> str | None:
    if name in _DEPENDENCIES:
        return "dependencies"
    return "build" if name in _BUILT or name.endswith(_BUILT_ENDINGS) else None


def _file_reason(name: str) -> str | None:
    return "generated" if _GENERATED.fullmatch(name) else None


def _is_cache(mark: Path) -> bool:
    return _text(mark).encode("utf-8", "surrogateescape").startswith(_CACHE_SIGNATURE)
