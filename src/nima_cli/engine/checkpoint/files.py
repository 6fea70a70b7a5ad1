"""What the checkpoint files of a run are called and which one a path means, without opening any."""

import re
from pathlib import Path

from nima_cli.errors import CheckpointError
from nima_cli.files import explaining

BEST, LAST = "checkpoint_best.pt", "checkpoint_last.pt"
_STEP = re.compile(r"checkpoint_step_(0|[1-9][0-9]{0,17})\.pt")


def step_path(run_dir: Path, step: int) -> Path:
    """Where the last checkpoint of an earlier step is kept."""
    return run_dir / f"checkpoint_step_{step}.pt"


def step_files(run_dir: Path) -> dict[int, Path]:
    """The earlier checkpoints of a run by step, the newest first; files of any other name are not ours."""
    found = {
        int(match[1]): path
        for path in (run_dir.iterdir() if run_dir.is_dir() else ())
        if (match := _STEP.fullmatch(path.name)) and path.is_file()
    }
    return dict(sorted(found.items(), reverse=True))


def checkpoint_files(run_dir: Path) -> list[Path]:
    """Every checkpoint of a run: last, best, earlier steps."""
    named = [run_dir / name for name in (LAST, BEST) if (run_dir / name).is_file()]
    return named + list(step_files(run_dir).values())


def find(path: Path) -> Path:
    """The checkpoint that a path means: a file, or a run directory's best (else last, else newest).

    Raises:
        CheckpointError: neither; lists what the directory holds.
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
