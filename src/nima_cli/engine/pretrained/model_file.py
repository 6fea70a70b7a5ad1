"""Opens whatever a model can be read from: a checkpoint or run directory of nima, or what others trained."""

from pathlib import Path

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.file import Checkpoint
from nima_cli.engine.checkpoint.files import find
from nima_cli.engine.pretrained.load import is_pretrained, load_pretrained


def model_path(path: Path) -> Path:
    """The file or folder that is read: of a run directory its best checkpoint.

    Raises:
        CheckpointError: there is no model.
        ResourceError: the system does not let us look.
    """
    return path if is_pretrained(path) else find(path)


def read_model(path: Path, *, name: str | None = None) -> Checkpoint:
    """Read a model whole; `name` is for one that others trained, by default that of its file or folder.

    Raises:
        CheckpointError: there is no model, or it cannot be used.
        ResourceError: the system refused, or there is not enough memory.
    """
    if is_pretrained(path):
        return load_pretrained(path, name=name)
    return checkpoints.load(find(path))
