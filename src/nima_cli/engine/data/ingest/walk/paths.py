"""From what a user wrote (file, folder, glob) to real files in a fixed order; knows nothing of what they hold."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from nima_cli.engine.data.diagnostics import Problem, printable
from nima_cli.engine.data.ingest.walk import own_files
from nima_cli.engine.data.ingest.walk.file_kinds import Wanted
from nima_cli.engine.data.ingest.walk.ignoring import Leaving, rules_for
from nima_cli.engine.data.ingest.walk.walking import MAGIC, LeftOut, Walk

__all__ = ["MAGIC", "Found", "Reached", "Taken", "Walking", "expand"]

_OWN = {"dataset": "a prepared dataset", "output": "a prepared dataset", "run": "a run directory"}
_BY_RULE = ("excluded", "gitignore", "dependencies", "build", "generated")


@dataclass(frozen=True, slots=True)
class Walking:
    """How every folder is walked.

    Attributes:
        skip_unreadable: what may not be read is left out; else it is refused.
        output: where a dataset is about to be written.
    """

    leaving: Leaving = field(default_factory=Leaving)
    skip_unreadable: bool = False
    output: Path | None = None


@dataclass(slots=True)
class Reached:
    """What was reached so far, over all sources: (device, inode) of files taken, and paths that were left out."""

    files: set[tuple[int, int]] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Taken:
    """A file to read.

    Attributes:
        name: relative to the source's root, with `/`.
        path: to open.
        size: in bytes.
    """

    name: str
    path: Path
    size: int


@dataclass(slots=True)
class Found:
    """The files behind one path.

    Attributes:
        files: sorted by name.
        unusable: what the user must correct.
        refused: what the operating system does not let us read.
        twins: files that were reached before under another name.
        left_out: what a walk met and did not take.
    """

    files: list[Taken] = field(default_factory=list)
    unusable: list[Problem] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    twins: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def expand(pattern: str, wanted: Wanted, reached: Reached, walking: Walking | None = None) -> Found:
    """Find the files that `pattern` stands for.

    Args:
        pattern: a file (any suffix), a folder (walked), or a glob with `*`, `?`, `[…]`, `**`. A path that exists is
            taken literally even when it contains glob characters.
        wanted: what is taken from a walked folder.
        reached: grows. A file is taken once however many names it has.
    """
    walking = walking or Walking()
    found = Found()
    path = Path(pattern)
    if os.path.lexists(path):
        if os.path.isdir(path):
            _expand_walked(path, (), wanted, reached, walking, found)
        else:
            _take_named(path, reached, found)
    elif MAGIC & set(pattern):
        fixed = next(index for index, part in enumerate(path.parts) if MAGIC & set(part))
        _expand_walked(Path(*path.parts[:fixed]), path.parts[fixed:], wanted, reached, walking, found)
    else:
        hint = "check the path given to `--text-files`, `--json-files`, `--jsonl-files` or `data.sources`"
        found.unusable.append(Problem(printable(pattern), "no such file or folder", "missing", hint))
    return found


def _take_named(file: Path, reached: Reached, found: Found) -> None:
    """Take a file that the user named: whatever it is called, but what cannot be read is for the user to correct."""
    kind = own_files.kind_of_file(file)
    if kind is not None:
        hint = "name the documents themselves; for the text of this very file, give a copy of it in another folder"
        what = f"is part of {_OWN[kind]} of nima, not a document"
        found.unusable.append(Problem(printable(str(file)), what, kind, hint))
        return
    _take(file.name, file, reached, found)


def _expand_walked(
    root: Path, parts: tuple[str, ...], wanted: Wanted, reached: Reached, walking: Walking, found: Found
) -> None:
    """Take what a walk finds in a folder, or what a pattern matches below it."""
    walk = Walk(root, wanted, rules_for(root, walking.leaving), walking.output)
    entries = (walk.matches(parts) if parts else walk.files()) if os.path.isdir(root) else iter(())
    candidates = {_name(entry.path, root): entry for entry in entries}
    problems = Found(refused=list(walk.refused))
    for name, entry in sorted(candidates.items()):
        _take(name, entry.path, reached, problems, found)
    # The folder itself was named, so it must be readable whatever is skipped below it.
    skippable = [one for one in problems.refused if walking.skip_unreadable and one.where != printable(str(root))]
    found.refused += [one for one in problems.refused if one not in skippable]
    skipped = [*problems.unusable, *skippable]
    left_out = [*walk.left_out, *(LeftOut(problem.where, problem.reason) for problem in skipped)]
    found.left_out = [one for one in left_out if _is_new(one, reached)]
    if not (found.files or found.twins or found.refused):
        pattern = str(root.joinpath(*parts))
        found.unusable.append(_nothing(printable(pattern), bool(parts and not candidates), wanted, left_out))


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _is_new(left_out: LeftOut, reached: Reached) -> bool:
    path = os.path.abspath(left_out.where)
    new = path not in reached.left_out
    reached.left_out.add(path)
    return new


def _nothing(where: str, is_glob: bool, wanted: Wanted, left_out: list[LeftOut]) -> Problem:
    """Why a folder or pattern gives no file."""
    own = next((one for one in left_out if one.reason in _OWN), None)
    by_rule = next((one for one in left_out if one.reason in _BY_RULE), None)
    if own is not None and by_rule is None:
        what = f"is {_OWN[own.reason]} of nima, not a folder of documents"
        if own.where != where:
            what = f"there is nothing but {_OWN[own.reason]} of nima in {own.where}"
        return Problem(where, what, own.reason, "name the documents themselves; `data.dir` is for a prepared dataset")
    hint = "is the folder empty, or the pattern misspelled?" if is_glob else None
    if by_rule is not None:
        keys = "`data.exclude`, `data.respect_gitignore` and `data.default_excludes`"
        hint = f"{by_rule.where} is left out, for one; see {keys}"
    what = "no file matches" if is_glob else f"no documents in this folder (looked for {wanted})"
    return Problem(where, what, "missing", hint)


def _take(name: str, file: Path, reached: Reached, problems: Found, found: Found | None = None) -> None:
    """Add a file to `found.files` if it is regular, readable and not yet reached.

    Args:
        problems: gets what is in the way.
    """
    found = found or problems
    shown = printable(str(file))
    try:
        status = file.stat()
    except PermissionError:
        problems.refused.append(Problem(shown, "cannot read: permission denied", "unreadable"))
        return
    except (OSError, ValueError):
        what = "not a regular file (a broken or circular link)"
        problems.unusable.append(Problem(shown, what, "broken_link"))
        return
    if not stat.S_ISREG(status.st_mode):
        problems.unusable.append(Problem(shown, "not a regular file", "not_regular"))
    elif not os.access(file, os.R_OK):
        problems.refused.append(Problem(shown, "cannot read: permission denied", "unreadable"))
    elif (status.st_dev, status.st_ino) in reached.files:
        found.twins.append(file)
    else:
        reached.files.add((status.st_dev, status.st_ino))
        found.files.append(Taken(name, file, status.st_size))
