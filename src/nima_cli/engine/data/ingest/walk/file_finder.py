"""Finds the files that a path, folder or glob stands for, in a fixed order."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.engine.data.diagnostics import Diagnostic, Diagnostics, printable
from nima_cli.engine.data.ingest.contents import FileFilter
from nima_cli.engine.data.ingest.walk import own_files
from nima_cli.engine.data.ingest.walk.ignoring import WalkOptions
from nima_cli.engine.data.ingest.walk.walking import SkippedPath, Walk

GLOB_CHARACTERS = frozenset("*?[")
_OWN = {"dataset": "a prepared dataset", "output": "a prepared dataset", "run": "a run directory"}
_BY_RULE = ("excluded", "gitignore", "dependencies", "build", "generated")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read, with its `/`-separated name below the root of the source and its size in bytes when found."""

    name: str
    path: Path
    size: int


@dataclass(slots=True)
class FoundFiles:
    """The files behind one path, sorted by name; files found before under another name; and what was skipped."""

    files: list[SourceFile] = field(default_factory=list)
    duplicates: list[Path] = field(default_factory=list)
    skipped: list[SkippedPath] = field(default_factory=list)


class FileFinder:
    """Finds files for one source after the other; each file is taken once, whatever its names."""

    def __init__(self) -> None:
        self.inodes: set[tuple[int, int]] = set()  # (device, inode) of the files found so far
        # What the user must correct, and what the operating system does not let us read.
        self.unusable, self.unreadable = Diagnostics(), Diagnostics()
        self._skipped: set[str] = set()

    def find(self, pattern: str, wanted: FileFilter, options: WalkOptions) -> FoundFiles:
        """Find the files that `pattern` stands for: a file of any suffix, a folder to walk, or a glob with `**`, too.

        An existing path is taken literally even if it contains glob characters.
        """
        found, path = FoundFiles(), Path(pattern)
        fixed = next((index for index, part in enumerate(path.parts) if GLOB_CHARACTERS & set(part)), None)
        if os.path.isdir(path):
            self._find_below(path, (), wanted, options, found)
        elif os.path.lexists(path):
            self._take_named(path, found)
        elif fixed is not None:
            self._find_below(Path(*path.parts[:fixed]), path.parts[fixed:], wanted, options, found)
        else:
            hint = "check the path given to `text_files=`, `json_files=`, `jsonl_files=` or `data.sources`"
            self.unusable.add(Diagnostic(printable(pattern), "no such file or folder", "missing", hint))
        return found

    def _take_named(self, file: Path, found: FoundFiles) -> None:
        kind = own_files.kind_of_file(file)
        if kind:
            hint = "name the documents themselves; for the text of this very file, give a copy of it in another folder"
            what = f"is part of {_OWN[kind]} of nima, not a document"
            self.unusable.add(Diagnostic(printable(str(file)), what, kind, hint))
        elif (wrong := self._take(file.name, file, found)) is not None:
            (self.unreadable if wrong.reason == "unreadable" else self.unusable).add(wrong)

    def _find_below(
        self, root: Path, pattern: tuple[str, ...], wanted: FileFilter, options: WalkOptions, found: FoundFiles
    ) -> None:
        walk = Walk(root, wanted, options)
        paths = walk.files(pattern) if os.path.isdir(root) else ()
        candidates = {path.relative_to(root).as_posix(): path for path in paths}
        wrong = [self._take(name, path, found) for name, path in sorted(candidates.items())]
        skipped, refused = walk.skipped, False
        for one in filter(None, [*walk.unreadable, *wrong]):
            # The user named the folder itself, so it must be readable whatever is skipped below it.
            strict = not options.skip_unreadable or one.where == printable(str(root))
            if one.reason == "unreadable" and strict:
                self.unreadable.add(one)
                refused = True
            else:
                skipped.append(SkippedPath(one.where, one.reason))
        for path in skipped:
            if (absolute := os.path.abspath(path.where)) not in self._skipped:
                self._skipped.add(absolute)
                found.skipped.append(path)
        if not (found.files or found.duplicates or refused):
            where = printable(str(root.joinpath(*pattern)))
            self.unusable.add(_nothing(where, bool(pattern and not candidates), wanted, skipped))

    def _take(self, name: str, file: Path, found: FoundFiles) -> Diagnostic | None:
        """Add a file if it is regular, readable and new; return what is wrong with it."""
        where = printable(str(file))
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                return Diagnostic(where, "not a regular file", "not_regular")
            readable = os.access(file, os.R_OK)
        except PermissionError:
            readable = False
        except (OSError, ValueError):
            return Diagnostic(where, "not a regular file (a broken or circular link)", "broken_link")
        if not readable:
            return Diagnostic(where, "cannot read: permission denied", "unreadable")
        if (inode := (status.st_dev, status.st_ino)) in self.inodes:
            found.duplicates.append(file)
        else:
            self.inodes.add(inode)
            found.files.append(SourceFile(name, file, status.st_size))
        return None


def _nothing(where: str, is_glob: bool, wanted: FileFilter, skipped: list[SkippedPath]) -> Diagnostic:
    own = next((one for one in skipped if one.reason in _OWN), None)
    by_rule = next((one for one in skipped if one.reason in _BY_RULE), None)
    if own and not by_rule:
        what = f"there is nothing but {_OWN[own.reason]} of nima in {own.where}"
        if own.where == where:
            what = f"is {_OWN[own.reason]} of nima, not a folder of documents"
        hint = "name the documents themselves; `data.dir` is for a prepared dataset"
        return Diagnostic(where, what, own.reason, hint)
    what = "no file matches" if is_glob else f"no documents in this folder (looked for {wanted})"
    if by_rule:
        keys = "`data.exclude`, `data.respect_gitignore` and `data.default_excludes`"
        return Diagnostic(where, what, "missing", f"{by_rule.where} is left out, for one; see {keys}")
    return Diagnostic(where, what, "missing", "is the folder empty, or the pattern misspelled?" if is_glob else None)
