"""Keeps a run's checkpoints: which earlier ones stay, and what a save that fails means; knows no model and no loop.

The last checkpoint gets a second name before a new one takes its place, and names are removed only after the new file
is complete. So from the second save on two valid checkpoints exist at every instant, whatever fails.
"""

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path

from nima_cli.engine import checkpoint as checkpoints
from nima_cli.engine.checkpoint import Checkpoint
from nima_cli.engine.checkpoint_files import BEST, LAST, step_files, step_path
from nima_cli.errors import CheckpointError, ResourceError
from nima_cli.events import Note, Saved
from nima_cli.files import atomic_write, explain, free_bytes, fsync_folder


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

    def save(self, name: str, checkpoint: Checkpoint) -> Saved | Note:
        """Write `checkpoint_best.pt` or `checkpoint_last.pt`.

        Returns:
            That it is complete; or, when the disk or the permissions refused it, a warning. Then every earlier
            checkpoint is as it was, and a later save may succeed.
        """
        path, step = self._run_dir / name, int(checkpoint.header["step"])
        start = time.perf_counter()
        try:
            if name == BEST:
                size = checkpoints.save_best(path, checkpoint)
            else:
                self._keep_previous(step)
                size = checkpoints.save(path, checkpoint)
                self._last_step, self._knows_last = step, True
                self._remove_old(step)
        except (ResourceError, CheckpointError) as error:
            return Note("warning", self._not_saved(error, step, checkpoint.nbytes()))
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
        last = self._run_dir / LAST
        if not self.is_behind(step) or self._last_step is None:
            return
        kept = step_path(self._run_dir, self._last_step)
        part = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
        try:
            try:
                os.link(last, part)
                os.replace(part, kept)  # does nothing where both already are the same file
                fsync_folder(self._run_dir)
            finally:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
        except OSError as error:
            if not _has_no_links(error):
                raise explain(error, kept, "write") from error
            with atomic_write(kept) as stream, last.open("rb") as source:
                shutil.copyfileobj(source, stream)

    def _remove_old(self, step: int) -> None:
        """Remove earlier checkpoints beyond those to keep; what cannot be removed now is tried again at the next."""
        earlier = [path for found, path in step_files(self._run_dir).items() if found < step]
        for path in earlier[self._keep - 1 :]:
            with contextlib.suppress(OSError):
                path.unlink()


def step_of(path: Path) -> int | None:
    """The step of a checkpoint; None where there is none that loads."""
    try:
        return int(checkpoints.load(path).header["step"])
    except (CheckpointError, ResourceError, KeyError):
        return None


def _has_no_links(error: OSError) -> bool:
    """Whether the file system, not the disk's state, is why a hard link cannot be made."""
    return error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
