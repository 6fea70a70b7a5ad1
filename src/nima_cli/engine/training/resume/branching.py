"""A new run that goes on from a checkpoint of another one: what it takes over, so that it is whole from its start."""

from pathlib import Path

from nima_cli.engine.checkpoint.files import BEST, LAST
from nima_cli.engine.checkpoint.header import step_of
from nima_cli.files import link_or_copy


def adopt(run_dir: Path, resumed: Path, *, best_step: int) -> None:
    """Give a run directory the checkpoint that it goes on from, and the best that this one speaks of.

    Args:
        run_dir: of the new run, without checkpoints, whose lock is held.
        resumed: a checkpoint in another folder, which stays as it is.
        best_step: of the best that it speaks of; 0 where there is none yet.

    Raises:
        ResourceError: the disk or permissions refused.
    """
    best = resumed.with_name(BEST)
    if best_step and step_of(best) == best_step:
        link_or_copy(best, run_dir / BEST)
    link_or_copy(resumed, run_dir / LAST)
