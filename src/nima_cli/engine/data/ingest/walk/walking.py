"""Walks a folder, or matches a pattern below it, and keeps account of what is left out; opens no document."""

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.engine.data.diagnostics import Problem, printable
from nima_cli.engine.data.ingest.walk import own_files
from nima_cli.engine.data.ingest.walk.file_kinds import Wanted, suffixes
from nima_cli.engine.data.ingest.walk.ignoring import FolderRules
from nima_cli.files import is_temporary

MAGIC = frozenset("*?[")
_SUFFIX = re.compile(r"(\.[\w+~-]{1,12}){1,2}")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that a walk met and did not take.

    Attributes:
        where: its path, safe to print.
        reason: `kind` (its suffix is none that is read here), `excluded`, `gitignore`, `hidden`, `dependencies`,
            `build`, `generated`, `dataset`, `run`, `output`, `report`, `broken_link`, `not_regular` or `unreadable`.
        size: bytes of a file, as far as known.
        suffix: for the reason `kind`.
        inode: (device, inode) of a file, as far as known.
    """

    where: str
    reason: str
    size: int = 0
    suffix: str = ""
    inode: tuple[int, int] | None = None


@dataclass(slots=True)
class _Folder:
    path: Path
    rules: FolderRules


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder holds that nothing leaves out.

    Attributes:
        rules: those of the folder it is in.
    """

    path: Path
    is_folder: bool
    is_link: bool
    rules: FolderRules

    @property
    def folder(self) -> _Folder:
        """The entry as a folder to go into."""
        return _Folder(self.path, self.rules.entered(self.path.name))


@dataclass(slots=True)
class Walk:
    """One walk below one folder.

    Attributes:
        output: where a dataset is about to be written.
        left_out: grows, each path once.
        refused: folders that may not be read.
    """

    root: Path
    wanted: Wanted
    rules: FolderRules
    output: Path | None = None
    _left_out: dict[tuple[str, str], LeftOut] = field(default_factory=dict)
    refused: list[Problem] = field(default_factory=list)

    @property
    def left_out(self) -> list[LeftOut]:
        """What was met and not taken, in the order of the paths."""
        return [one for _, one in sorted(self._left_out.items())]

    def files(self) -> Iterator[Entry]:
        """All files of a kind that is wanted."""
        return self._files(_Folder(self.root, self.rules))

    def matches(self, parts: tuple[str, ...]) -> Iterator[Entry]:
        """The files that match a pattern, and those in the folders that match; unlike `glob`, `**` cannot loop."""
        for entry in self._match(_Folder(self.root, self.rules), parts):
            if not entry.is_folder:
                if parts[-1] not in ("*", "**") or self._takes(entry):
                    yield entry
            elif parts[-1] != "**":
                yield from self._files(entry.folder)

    def _files(self, top: _Folder) -> Iterator[Entry]:
        for _, entries in self._folders(top):
            for entry in entries:
                if not entry.is_folder and self._takes(entry):
                    yield entry

    def _match(self, folder: _Folder, parts: tuple[str, ...]) -> Iterator[Entry]:
        head, rest = parts[0], parts[1:]
        if head == "**":
            for below, _ in self._folders(folder):
                yield from self._match(below, rest or ("*",))
            return
        for entry in self._entries(folder, head):
            if not rest:
                yield entry
            elif entry.is_folder:
                yield from self._match(entry.folder, rest)

    def _folders(self, top: _Folder) -> Iterator[tuple[_Folder, list[Entry]]]:
        """Yield each folder with its entries; links are followed, but each real folder is entered once."""
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
            # Real folders come off the stack before links, so that a file gets its plain name whenever it has one.
            folders = [entry for entry in entries if entry.is_folder]
            waiting[:0] = [entry.folder for entry in reversed(folders) if entry.is_link]
            waiting += [entry.folder for entry in reversed(folders) if not entry.is_link]

    def _entries(self, folder: _Folder, pattern: str = "*") -> list[Entry]:
        """What is in a folder by name, but for what the rules leave out; those of the folder itself join them."""
        try:
            with os.scandir(folder.path) as scanned:
                found = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            self._refuse(folder.path, error)
            return []
        names = {entry.name for entry in found}
        installed = folder.rules.installed(folder.path, names) if folder.path != self.root else None
        if installed is not None:
            self._leave_out(folder.path, installed)
            return []
        rules = folder.rules.opened(folder.path, names)
        own = own_files.kinds_of(folder.path, names)
        self._note_own(folder.path, own)
        hidden = pattern.startswith(".")
        entries = []
        for entry in found:
            if not fnmatch.fnmatchcase(entry.name, pattern) or _is_ours(entry.name, own):
                continue
            is_folder, is_link = _is_folder(entry), entry.is_symlink()
            reason = rules.reason(entry.name, is_folder=is_folder, is_link=is_link, hidden=hidden)
            if reason is None:
                entries.append(Entry(folder.path / entry.name, is_folder, is_link, rules))
            else:
                self._leave_out(folder.path / entry.name, reason)
        return entries

    def _note_own(self, folder: Path, kinds: list[str]) -> None:
        for kind in kinds:
            at_output = self.output is not None and os.path.realpath(folder) == os.path.realpath(self.output)
            self._leave_out(folder, "output" if at_output and kind == "dataset" else kind)

    def _takes(self, entry: Entry) -> bool:
        """Whether a file is of a kind that is wanted; if not, it is counted with its size."""
        if own_files.is_report(entry.path):
            self._leave_out(entry.path, "report")
            return False
        if self.wanted.takes(entry.path):
            return True
        try:
            status = entry.path.stat()
        except OSError as error:
            self._leave_out(entry.path, "unreadable" if isinstance(error, PermissionError) else "broken_link")
        else:
            inode = (status.st_dev, status.st_ino)
            self._add(LeftOut(printable(str(entry.path)), "kind", status.st_size, shown_suffix(entry.path), inode))
        return False

    def _leave_out(self, path: Path, reason: str) -> None:
        size = os.path.getsize(path) if os.path.isfile(path) else 0
        self._add(LeftOut(printable(str(path)), reason, size))

    def _add(self, left_out: LeftOut) -> None:
        self._left_out.setdefault((left_out.where, left_out.reason), left_out)

    def _refuse(self, folder: Path, error: OSError) -> None:
        what = f"cannot read this folder: {(error.strerror or str(error)).lower()}"
        problem = Problem(printable(str(folder)), what, "unreadable")
        if problem not in self.refused:
            self.refused.append(problem)


def _is_ours(name: str, kinds: list[str]) -> bool:
    """Whether nima wrote an entry: a part of the dataset or run in its folder, or a file that is not finished."""
    return is_temporary(name) or any(own_files.is_own(kind, name) for kind in kinds)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads in circles or nowhere is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def shown_suffix(file: Path) -> str:
    """What a file is counted under: its suffix, `.md.gz` for a packed one; empty where its name has none."""
    inner, last = suffixes(file)
    suffix = inner if inner == last else inner + last
    return suffix if _SUFFIX.fullmatch(suffix) else ""
