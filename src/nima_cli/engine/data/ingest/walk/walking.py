"""Walks a folder, or matches a pattern below it, and records what is left out."""

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nima_cli.engine.data.diagnostics import Diagnostic, printable
from nima_cli.engine.data.ingest.contents import FileFilter, split_suffix
from nima_cli.engine.data.ingest.encoding import GZIP_SUFFIX
from nima_cli.engine.data.ingest.walk import own_files
from nima_cli.engine.data.ingest.walk.ignoring import ExcludeRules, GitIgnores, WalkOptions
from nima_cli.files import is_temporary

_SUFFIX = re.compile(r"(\.[\w+~-]{1,12}){1,2}")


@dataclass(frozen=True, slots=True)
class SkippedPath:
    """Something that a walk met and did not take.

    Its reason is `kind` (a suffix that is not read here), `excluded`, `gitignore`, `hidden`, `dependencies`, `build`,
    `generated`, `dataset`, `run`, `output`, `report`, `broken_link`, `not_regular` or `unreadable`.
    """

    where: str  # safe to print
    reason: str
    size: int = 0
    suffix: str = ""  # for the reason `kind`
    inode: tuple[int, int] | None = None  # after the device


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder to take; `below` is its path from the root of the walk, see `ExcludeRules`."""

    path: Path
    below: str
    is_folder: bool
    is_link: bool
    ignores: GitIgnores


class Walk:
    """One walk below a folder; `unreadable` collects the folders that may not be read."""

    def __init__(self, root: Path, wanted: FileFilter, options: WalkOptions) -> None:
        self.unreadable: list[Diagnostic] = []
        self._wanted, self._rules = wanted, ExcludeRules(root, options)
        self._output = os.path.realpath(options.output) if options.output else None
        self._root = _Entry(root, "", True, False, self._rules.of_root(root))
        self._skipped: dict[tuple[str, str], SkippedPath] = {}

    @property
    def skipped(self) -> list[SkippedPath]:
        """What was met and not taken, sorted by path."""
        return [one for _, one in sorted(self._skipped.items())]

    def files(self, pattern: tuple[str, ...] = ()) -> Iterator[Path]:
        """Yield all wanted files; given the parts of a glob, files that match and wanted files in folders that match.

        Unlike in `glob`, `**` cannot loop.
        """
        if not pattern:
            yield from self._files(self._root)
            return
        for entry in self._match(self._root, pattern):
            if not entry.is_folder:
                if pattern[-1] not in ("*", "**") or self._takes(entry.path):
                    yield entry.path
            elif pattern[-1] != "**":
                yield from self._files(entry)

    def _files(self, top: _Entry) -> Iterator[Path]:
        for _, entries in self._folders(top):
            yield from (entry.path for entry in entries if not entry.is_folder and self._takes(entry.path))

    def _match(self, folder: _Entry, pattern: tuple[str, ...]) -> Iterator[_Entry]:
        head, rest = pattern[0], pattern[1:]
        if head == "**":
            for below, _ in self._folders(folder):
                yield from self._match(below, rest or ("*",))
            return
        for entry in self._entries(folder, head):
            if not rest:
                yield entry
            elif entry.is_folder:
                yield from self._match(entry, rest)

    def _folders(self, top: _Entry) -> Iterator[tuple[_Entry, list[_Entry]]]:
        """Yield each folder with its entries; follow links, but enter each real folder once."""
        visited: set[tuple[int, int]] = set()
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                status = folder.path.stat()
            except OSError as error:
                self._refuse(folder.path, error)
                continue
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = self._entries(folder)
            yield folder, entries
            # Real folders come off the stack before links, so that a file gets its plain name if it has one.
            folders = [entry for entry in reversed(entries) if entry.is_folder]
            waiting[:0] = [entry for entry in folders if entry.is_link]
            waiting += [entry for entry in folders if not entry.is_link]

    def _entries(self, folder: _Entry, pattern: str = "*") -> list[_Entry]:
        """The entries of a folder that match and that no rule leaves out."""
        try:
            with os.scandir(folder.path) as scanned:
                found = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            self._refuse(folder.path, error)
            return []
        names = {entry.name for entry in found}
        reason = self._rules.reason_inside(folder.path, folder.below, names) if folder is not self._root else None
        if reason is not None:
            self._skip(folder.path, reason)
            return []
        ignores = self._rules.of_folder(folder.path, folder.below, names, folder.ignores)
        own = own_files.kinds_of(folder.path, names)
        for kind in own:
            at_output = kind == "dataset" and os.path.realpath(folder.path) == self._output
            self._skip(folder.path, "output" if at_output else kind)
        entries = []
        for one in found:
            ours = is_temporary(one.name) or any(own_files.is_own(kind, one.name) for kind in own)
            if ours or not fnmatch.fnmatchcase(one.name, pattern):
                continue
            # Without an error for circular links, as `one.is_dir()` would raise.
            is_folder, is_link = os.path.isdir(one), one.is_symlink()
            below = f"{folder.below}{one.name}{'/' * is_folder}"
            reason = self._rules.reason(one.name, below, ignores, is_link=is_link, hidden=pattern.startswith("."))
            if reason is None:
                entries.append(_Entry(folder.path / one.name, below, is_folder, is_link, ignores))
            else:
                self._skip(folder.path / one.name, reason)
        return entries

    def _takes(self, file: Path) -> bool:
        """Whether a file is wanted; if not, record it with its size."""
        if own_files.is_report(file):
            self._skip(file, "report")
            return False
        if self._wanted.takes(file):
            return True
        try:
            status = file.stat()
        except OSError as error:
            self._skip(file, "unreadable" if isinstance(error, PermissionError) else "broken_link")
        else:
            self._skip(file, "kind", shown_suffix(file), (status.st_dev, status.st_ino))
        return False

    def _skip(self, path: Path, reason: str, suffix: str = "", inode: tuple[int, int] | None = None) -> None:
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        where = printable(str(path))
        self._skipped.setdefault((where, reason), SkippedPath(where, reason, size, suffix, inode))

    def _refuse(self, folder: Path, error: OSError) -> None:
        what = f"cannot read this folder: {(error.strerror or str(error)).lower()}"
        found = Diagnostic(printable(str(folder)), what, "unreadable")
        if found not in self.unreadable:
            self.unreadable.append(found)


def shown_suffix(file: Path) -> str:
    """Return the suffix to count a file under, such as `.md` or `.md.gz`; empty without one."""
    inner, gzipped = split_suffix(file)
    suffix = inner + GZIP_SUFFIX * gzipped
    return suffix if _SUFFIX.fullmatch(suffix) else ""
