"""From what a user wrote (file, folder, glob) to real files in a fixed order; knows nothing of what they hold."""

import fnmatch
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.engine.data.file_kinds import Wanted
from nima_cli.engine.data.problems import Problem, printable

MAGIC = frozenset("*?[")


@dataclass(slots=True)
class Found:
    """The files behind one path.

    Attributes:
        files: (name relative to the source's root with `/`, path to open), sorted by name.
        unusable: what the user must correct.
        refused: what the operating system does not let us read.
        twins: files that were reached before under another name.
    """

    files: list[tuple[str, Path]] = field(default_factory=list)
    unusable: list[Problem] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    twins: list[Path] = field(default_factory=list)


def expand(pattern: str, wanted: Wanted, seen: set[tuple[int, int]]) -> Found:
    """Find the files that `pattern` stands for.

    Args:
        pattern: a file (any suffix), a folder (walked, hidden entries left out), or a glob with `*`, `?`, `[…]`, `**`.
            A path that exists is taken literally even when it contains glob characters.
        wanted: what is taken from a walked folder.
        seen: (device, inode) of files taken so far; grows. A file is taken once however many names it has.
    """
    found = Found()
    path = Path(pattern)
    if os.path.lexists(path):
        root, hits = path, [path]
    elif MAGIC & set(pattern):
        root, hits = _glob(path, wanted, found)
    else:
        hint = "check the path given to `--text-files`, `--json-files`, `--jsonl-files` or `data.sources`"
        found.unusable.append(Problem(printable(pattern), "no such file or folder", "missing", hint))
        return found
    if not hits and not found.refused:
        hint = "is the folder empty, or the pattern misspelled?"
        found.unusable.append(Problem(printable(pattern), "no file matches", "missing", hint))
    candidates: dict[str, Path] = {}
    for hit in hits:
        for file in _walk_files(hit, wanted, found) if os.path.isdir(hit) else [hit]:
            candidates[_name(file, root)] = file
    _take(candidates, found, seen)
    if os.path.isdir(path) and not (candidates or found.refused):
        found.unusable.append(
            Problem(printable(pattern), f"no documents in this folder (looked for {wanted})", "missing")
        )
    return found


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file != root else file.name


def _take(candidates: dict[str, Path], found: Found, seen: set[tuple[int, int]]) -> None:
    """Move the regular, readable, not yet seen files to `found.files`, in the order of their names."""
    for name, file in sorted(candidates.items()):
        shown = printable(str(file))
        try:
            status = file.stat()
        except PermissionError:
            found.refused.append(Problem(shown, "cannot read: permission denied", "unreadable"))
            continue
        except (OSError, ValueError):
            found.unusable.append(Problem(shown, "not a regular file (a broken or circular link)", "not_regular"))
            continue
        if not stat.S_ISREG(status.st_mode):
            found.unusable.append(Problem(shown, "not a regular file", "not_regular"))
        elif not os.access(file, os.R_OK):
            found.refused.append(Problem(shown, "cannot read: permission denied", "unreadable"))
        elif (status.st_dev, status.st_ino) in seen:
            found.twins.append(file)
        else:
            seen.add((status.st_dev, status.st_ino))
            found.files.append((name, file))


def _entries(folder: Path, found: Found) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        found.refused.append(Problem(printable(str(folder)), f"cannot read this folder: {reason}", "unreadable"))
        return []


def _walk_folders(top: Path, found: Found) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each folder with its visible entries; links are followed, but each real folder is entered once."""
    visited: set[tuple[int, int]] = set()
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        entries = [entry for entry in _entries(folder, found) if not entry.name.startswith(".")]
        yield folder, entries
        # Real folders come off the stack before links, so that a file gets its plain name whenever it has one.
        folders = [entry for entry in entries if os.path.isdir(entry)]
        waiting[:0] = [entry for entry in reversed(folders) if entry.is_symlink()]
        waiting += [entry for entry in reversed(folders) if not entry.is_symlink()]


def _walk_files(top: Path, wanted: Wanted, found: Found) -> Iterator[Path]:
    for _, entries in _walk_folders(top, found):
        for entry in entries:
            if wanted.takes(entry) and not os.path.isdir(entry):
                yield entry


def _glob(pattern: Path, wanted: Wanted, found: Found) -> tuple[Path, list[Path]]:
    """The folder before the first wildcard, and what matches; unlike `glob`, `**` cannot loop through links."""
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if MAGIC & set(part))
    root = Path(*parts[:fixed])
    hits = list(dict.fromkeys(_match(root, parts[fixed:], found))) if os.path.isdir(root) else []
    if parts[-1] in ("*", "**"):
        keep_folders = parts[-1] == "*"
        hits = [h for h in hits if (keep_folders if os.path.isdir(h) else wanted.takes(h))]
    return root, hits


def _match(folder: Path, parts: tuple[str, ...], found: Found) -> Iterator[Path]:
    head, rest = parts[0], parts[1:]
    if head == "**":
        for below, _ in _walk_folders(folder, found):
            yield from _match(below, rest or ("*",), found)
        return
    for entry in _entries(folder, found):
        hidden = entry.name.startswith(".") and not head.startswith(".")
        if hidden or not fnmatch.fnmatchcase(entry.name, head):
            continue
        if not rest:
            yield entry
        elif os.path.isdir(entry):
            yield from _match(entry, rest, found)
