"""Run directories: `experiments/NAME`, or the next free `NAME-2`; `experiments/.last` names the last run."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from nima_cli.errors import InputError
from nima_cli.files import check_writable, explaining, folder_lock, write_text
from nima_cli.ui.console import say

ROOT = Path("experiments")
LAST_RUN = ".last"
_SHOWN = 5
_claimed: list[Path] = []  # directories that this process has made for a run that may not begin


def new_run_dir(output_dir: Path | None, name: str, *, again: bool = False) -> Path:
    """A directory for a new run: `output_dir`, not created here, or a new one of this name.

    A new one is created atomically, so that two starts at the same moment get one each; `give_back` removes it where
    the run did not begin. `again` reuses the directory of a run without a checkpoint.

    Raises:
        InputError: `output_dir` already holds a run, or the name is no plain folder name.
        ResourceError: that run is still going on, or nothing can be written there.
    """
    from nima_cli.config.schema import safe_name

    taken = holds_checkpoint if again else holds_run
    if output_dir is not None and taken(output_dir):
        with folder_lock(output_dir):  # a run that is still going on says by whom it is held
            pass
        raise InputError(
            f"{output_dir}: already holds a run",
            hint="go on with it with --resume auto, or choose another --output-dir",
        )
    if output_dir is None and not safe_name(name):
        raise InputError(f"`{name}` cannot be the name of a run directory", hint="choose one with --output-dir")
    check_writable(output_dir or ROOT)
    if output_dir is not None:
        return output_dir
    run_dir = next(path for path in _candidates(name) if (holds_run(path) and not taken(path)) or _make(path))
    _claimed.append(run_dir)
    return run_dir


def give_back() -> None:
    """Remove directories that `new_run_dir` made for runs that did not begin."""
    while _claimed:
        with contextlib.suppress(OSError):  # it is not empty: a run lives there
            _claimed.pop().rmdir()
            ROOT.rmdir()


def _make(path: Path) -> bool:
    """Create a directory; False where there is one."""
    with explaining(path, "create this folder"):
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            return False
    return True


def find_run_dir(output_dir: Path | None, name: str | None) -> Path | None:
    """The directory of the run to go on with: the one named, else the newest of that name, else the last one."""
    if output_dir is not None:
        return output_dir if holds_run(output_dir) else None
    if name is not None:
        found = None
        for path in _candidates(name):
            if not path.exists():
                return found
            found = path if holds_run(path) else found
    return _last_run()


def newest_run(option: str, what: str, *, quiet: bool) -> Path:
    """The last run, or the only one there is, in place of the `what` that no `option` named; says which it is."""
    runs = [last] if (last := _last_run()) else []
    if not runs and ROOT.is_dir():
        runs = sorted(path for path in ROOT.iterdir() if path.is_dir() and holds_run(path))
    if not runs:
        hint = f"train one with `nima train`, or name one with {option}"
        raise InputError(f"there is no run under `{ROOT}/` here", hint=hint)
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs[:_SHOWN]) + (", ..." if len(runs) > _SHOWN else "")
        raise InputError(
            f"`{ROOT}/` holds {len(runs)} runs and nothing says which is the newest: {names}",
            hint=f"name one with {option}",
        )
    if not quiet:
        say(f"no {what} was named: taking the newest run, {runs[0]}")
    return runs[0]


def remember(run_dir: Path) -> None:
    """Record a run under `experiments/` as the last one."""
    if run_dir.absolute().parent == ROOT.absolute():
        write_text(ROOT / LAST_RUN, run_dir.name + "\n")


def holds_run(folder: Path) -> bool:
    return (folder / "metrics.jsonl").exists() or holds_checkpoint(folder)


def holds_checkpoint(folder: Path) -> bool:
    from nima_cli.engine.checkpoint.files import checkpoint_files

    return bool(checkpoint_files(folder))


def _last_run() -> Path | None:
    from nima_cli.config.schema import safe_name

    pointer = ROOT / LAST_RUN
    last = pointer.read_text("utf-8", "replace").strip() if pointer.is_file() else ""
    return ROOT / last if safe_name(last) and holds_run(ROOT / last) else None


def _candidates(name: str) -> Iterator[Path]:
    yield ROOT / name
    yield from (ROOT / f"{name}-{number}" for number in itertools.count(2))
