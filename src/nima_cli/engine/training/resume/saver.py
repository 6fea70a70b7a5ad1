"""Keeps a run's checkpoints: which earlier ones stay, and what a save that fails means; knows no model and no loop.

The last checkpoint gets a second name before a new one takes its place, and names are removed only after the new file
is complete. So from the second save on two valid checkpoints exist at every instant, whatever fails.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.files import BEST, LAST, step_files, step_path
from nima_cli.engine.checkpoint.header import step_of
from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.events import Note, Saved
from nima_cli.files import free_bytes, link_or_copy


class Saver:
    """Writes the checkpoints of one run; for its only writer.

    Args:
        run_dir: where they go.
        keep: how many last checkpoints to keep, the newest included, at least 2; the best is not counted.
        step: optimizer steps that are on disk already.

    Attributes:
        newest_step: of the newest checkpoint that this run has on disk.
    """

    def __init__(self, run_dir: Path, *, keep: int, step: int) -> None:
        assert keep >= 2, "while one is being replaced, another must be there"
        self._run_dir, self._keep = run_dir, keep
        self.newest_step = step
        self._last_step: int | None = None
        self._knows_last = False
        self._best: Saved | None = None

    def save(self, name: str, checkpoint: Checkpoint) -> Saved | Note:
        """Write `checkpoint_best.pt` or `checkpoint_last.pt`.

        Returns:
            That it is complete; or, when the disk or the permissions refused it, a warning. Then every earlier
            checkpoint is as it was, and a later save may succeed.
        """
        write = checkpoints.save_best if name == BEST else checkpoints.save
        step, needed = int(checkpoint.header["step"]), checkpoint.nbytes()
        told = self._put(name, step, needed, lambda path: write(path, checkpoint))
        if name == BEST:
            self._best = told if isinstance(told, Saved) else None
        return told

    def best_is_last(self) -> Saved | Note:
        """Let `checkpoint_last.pt` be the best that was just saved, without writing it again.

        Returns:
            As `save`.
        """
        best = self._best
        assert best is not None, "it was just saved"

        def link(path: Path) -> int:
            link_or_copy(best.path, path)
            return best.bytes

        return self._put(LAST, best.step, best.bytes, link)

    def _put(self, name: str, step: int, needed: int, write: Callable[[Path], int]) -> Saved | Note:
        path, start = self._run_dir / name, time.perf_counter()
        try:
            if name == LAST:
                self._keep_previous(step)
            size = write(path)
            if name == LAST:
                self._last_step, self._knows_last = step, True
                self._remove_old(step)
        except (ResourceError, CheckpointError) as error:
            return Note("warning", self._not_saved(error, step, needed))
        self.newest_step = step
        return Saved(step=step, path=path, bytes=size, seconds=time.perf_counter() - start)

    def is_behind(self, step: int) -> bool:
        """Whether `checkpoint_last.pt` is older than `step`, or of no use."""
        if not self._knows_last:
            self._last_step, self._knows_last = step_of(self._run_dir / LAST), True
        return self._last_step is None or self._last_step < step

    def require(self, step: int) -> None:
        """Refuse to end well when steps are not on disk.

        Raises:
            ResourceError: the newest checkpoint is older than `step`.
        """
        if self.newest_step < step:
            kept = f"that of step {self.newest_step}" if self.newest_step else "there is none"
            raise ResourceError(
                f"{self._run_dir}: the newest checkpoint is older than step {step}: {kept}",
                hint="make the run directory writable, with room, then go on with --resume auto",
            )

    def _not_saved(self, error: ResourceError | CheckpointError, step: int, needed: int) -> str:
        free = free_bytes(self._run_dir)
        room = f"{needed:,} bytes needed, {free:,} free" if free is not None else f"{needed:,} bytes needed"
        return f"step {step} is not saved: {error.message} ({room}); training goes on"

    def _keep_previous(self, step: int) -> None:
        """Give the last checkpoint, if it loads and is of an earlier step, a name that says its step."""
        if self.is_behind(step) and self._last_step is not None:
            link_or_copy(self._run_dir / LAST, step_path(self._run_dir, self._last_step))

    def _remove_old(self, step: int) -> None:
        """Remove earlier checkpoints beyond those to keep; what cannot be removed now is tried again at the next."""
        earlier = [path for found, path in step_files(self._run_dir).items() if found < step]
        for path in earlier[self._keep - 1 :]:
            with contextlib.suppress(OSError):
                path.unlink()
