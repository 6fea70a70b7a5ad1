"""The names of a run's checkpoint files, and the file that a path stands for."""

import re
from pathlib import Path

from nima_cli.errors import CheckpointError
from nima_cli.files import explaining

BEST, LAST = "checkpoint_best.pt", "checkpoint_last.pt"
_STEP = re.compile(r"checkpoint_step_(0|[1-9][0-9]{0,17})\.pt")


def step_path(run_dir: Path, step: int) -> Path:
    """The file that keeps the checkpoint of an earlier step."""
    return run_dir / f"checkpoint_step_{step}.pt"


def step_files(run_dir: Path) -> dict[int, Path]:
    """The earlier checkpoints of a run by step, the newest first."""
    found = {
        int(match[1]): path
        for path in (run_dir.iterdir() if run_dir.is_dir() else ())
        if (match := _STEP.fullmatch(path.name)) and path.is_file()
    }
    return dict(sorted(found.items(), reverse=True))


def checkpoint_files(run_dir: Path) -> list[Path]:
    """The checkpoints of a run: last, best, then earlier steps from the newest on."""
    return [*filter(Path.is_file, (run_dir / LAST, run_dir / BEST)), *step_files(run_dir).values()]


def find(path: Path) -> Path:
    """The path itself if it is a file; in a run directory, the best checkpoint, else the last, else the newest.

    Raises:
        CheckpointError: there is no checkpoint.
        ResourceError: the system does not let us look.
    """
    with explaining(path, "look for a checkpoint there"):
        if not path.is_dir():
            if path.exists():
                return path
            raise CheckpointError(f"{path}: no such checkpoint", hint="give a `.pt` file or a run directory")
        for candidate in (path / BEST, path / LAST, *step_files(path).values()):
            if candidate.is_file():
                return candidate
        inside = sorted(entry.name for entry in path.iterdir())
    listed = ", ".join(inside[:5]) + (", ..." if len(inside) > 5 else "") if inside else "nothing"
    raise CheckpointError(f"{path}: a folder without a nima checkpoint; it holds {listed}")
