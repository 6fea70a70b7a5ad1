"""A new run that goes on from a checkpoint of another one: what it takes over, so that it is whole from its start."""

from pathlib import Path

from nima_cli.engine import checkpoint as checkpoints
from nima_cli.engine.checkpoint_files import BEST, LAST
from nima_cli.engine.training.saver import step_of
from nima_cli.files import link_or_copy


def adopt(run_dir: Path, resumed: Path) -> None:
    """Give a run directory the checkpoint that it goes on from, and the best that this one speaks of.

    Args:
        run_dir: of the new run, without checkpoints, whose lock is held.
        resumed: a checkpoint in another folder, which stays as it is.

    Raises:
        ResourceError: the disk or permissions refused.
    """
    best = resumed.with_name(BEST)
    best_step = checkpoints.load(resumed).header.get("best", {}).get("step")
    if best_step is not None and step_of(best) == best_step:
        link_or_copy(best, run_dir / BEST)
    link_or_copy(resumed, run_dir / LAST)
