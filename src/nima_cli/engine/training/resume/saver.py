"""Manages a run's checkpoints so that, from the second save on, two valid ones always exist.

The last gets a second name before a new one takes its place, and names are removed once the new file is complete.
"""

import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.files import BEST, LAST, checkpoint_files, step_files, step_path
from nima_cli.engine.checkpoint.header import step_of
from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.events import Note, Saved
from nima_cli.files import explaining, free_bytes, fsync_folder, link_or_copy


class Saver:
    """Writes the checkpoints of one run, as its only writer; `newest_step` is on disk."""

    def __init__(self, run_dir: Path, *, keep: int, step: int) -> None:
        """Begin with `step` on disk; the newest `keep` checkpoints stay, and the best."""
        assert keep >= 2, "while one is being replaced, another must be there"
        self._run_dir, self._keep = run_dir, keep
        self.newest_step = step
        self._last_step: int | None = None
        self._knows_last = False
        self._best: Saved | None = None

    def save(self, name: str, checkpoint: Checkpoint) -> Saved | Note:
        """Write `checkpoint_best.pt` or `checkpoint_last.pt`; a failure is a warning and leaves the earlier ones."""
        write = checkpoints.save_best if name == BEST else checkpoints.save
        step, needed = int(checkpoint.header["step"]), checkpoint.nbytes()
        told = self._put(name, step, needed, lambda path: write(path, checkpoint))
        if name == BEST:
            self._best = told if isinstance(told, Saved) else None
        return told

    def best_is_last(self) -> Saved | Note:
        """Let `checkpoint_last.pt` be the best that was just saved, without writing it again."""
        best = self._best
        assert best is not None, "it was just saved"

        def link(path: Path) -> int:
            link_or_copy(best.path, path)
            return best.bytes

        return self._put(LAST, best.step, best.bytes, link)

    def _put(self, name: str, step: int, needed: int, write: Callable[[Path], int]) -> Saved | Note:
        path, start = self._run_dir / name, time.perf_counter()
        try:
            if name == LAST and self.is_behind(step) and self._last_step is not None:
                link_or_copy(path, step_path(self._run_dir, self._last_step))
            size = write(path)
            if name == LAST:
                self._last_step, self._knows_last = step, True
                self._remove_old(step)
        except (ResourceError, CheckpointError) as error:
            free = free_bytes(self._run_dir)
            room = f"{needed:,} bytes needed" + (f", {free:,} free" if free is not None else "")
            return Note("warning", f"step {step} is not saved: {error.message} ({room}); training goes on")
        self.newest_step = step
        return Saved(step=step, path=path, bytes=size, seconds=time.perf_counter() - start)

    def is_behind(self, step: int) -> bool:
        """Whether `checkpoint_last.pt` is older than `step`, missing or unreadable."""
        if not self._knows_last:
            self._last_step, self._knows_last = step_of(self._run_dir / LAST), True
        return self._last_step is None or self._last_step < step

    def require(self, step: int) -> None:
        """Raise a ResourceError when the newest checkpoint is older than `step`."""
        if self.newest_step < step:
            kept = f"that of step {self.newest_step}" if self.newest_step else "there is none"
            raise ResourceError(
                f"{self._run_dir}: the newest checkpoint is older than step {step}: {kept}",
                hint="make the run directory writable, with room, then go on with `resume=auto`",
            )

    def _remove_old(self, step: int) -> None:
        """Remove earlier checkpoints beyond those to keep; the next save retries what fails."""
        earlier = [path for found, path in step_files(self._run_dir).items() if found < step]
        for path in earlier[self._keep - 1 :]:
            with contextlib.suppress(OSError):
                path.unlink()


def adopt(run_dir: Path, resumed: Path, *, best_step: int) -> None:
    """Give a new run the checkpoint of another that it goes on from, and its best if that is still of `best_step`."""
    best = resumed.with_name(BEST)
    if best_step and step_of(best) == best_step:
        link_or_copy(best, run_dir / BEST)
    link_or_copy(resumed, run_dir / LAST)


def supersede_later_checkpoints(run_dir: Path, *, resumed: Path, step: int) -> list[Note]:
    """Rename the checkpoints of steps after `resumed`, so that no later resume takes them up."""
    named = {path: step for step, path in step_files(run_dir).items()}
    steps = {path: named.get(path) or step_of(path) for path in checkpoint_files(run_dir)}
    stays = resumed.resolve()
    later = {path: at for path, at in steps.items() if at is not None and at > step and path.resolve() != stays}
    if not later:
        return []
    names = []
    for path in later:
        endings = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        free = next(name for end in endings if not (name := path.with_name(f"{path.name}.superseded{end}")).exists())
        with explaining(path, "rename"):
            path.rename(free)
        names.append(free.name)
    fsync_folder(run_dir)
    return [Note("warning", f"steps {step + 1}-{max(later.values())} are discarded; kept as {', '.join(names)}")]
