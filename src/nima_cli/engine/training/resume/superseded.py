"""What going on from an older checkpoint gives up: names it and keeps the files; knows no model and no loop."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from nima_cli.engine.checkpoint.files import checkpoint_files, step_files
from nima_cli.engine.checkpoint.header import step_of
from nima_cli.events import Note
from nima_cli.files import explain, fsync_folder


def set_aside_later(run_dir: Path, *, resumed: Path, step: int) -> Iterator[Note]:
    """Rename the checkpoints of steps after `step`, so that no later resume takes up the future that is given up.

    Args:
        run_dir: of the run, whose lock is held.
        resumed: the checkpoint to go on from, which stays.
        step: its step.

    Raises:
        ResourceError: a file cannot be renamed.
    """
    found = dict(_later(run_dir, resumed, step))
    names = []
    for path in found:
        aside = next(free for free in _names(path) if not free.exists())
        try:
            path.rename(aside)
        except OSError as error:
            raise explain(error, path, "rename") from error
        names.append(aside.name)
    if found:
        fsync_folder(run_dir)
        yield Note("warning", f"steps {step + 1}-{max(found.values())} are discarded; kept as {', '.join(names)}")


def _names(path: Path) -> Iterator[Path]:
    """`name.superseded`, then with a number, for a run that gives up a future more than once."""
    yield path.with_name(f"{path.name}.superseded")
    yield from (path.with_name(f"{path.name}.superseded-{number}") for number in itertools.count(2))


def _later(run_dir: Path, resumed: Path, step: int) -> Iterator[tuple[Path, int]]:
    named = {path: step for step, path in step_files(run_dir).items()}
    for path in checkpoint_files(run_dir):
        if path.resolve() == resumed.resolve():
            continue
        of = named[path] if path in named else step_of(path)
        if of is not None and of > step:
            yield path, of
