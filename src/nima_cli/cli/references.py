"""Finds the model that a command line names: what is on disk, a model of `nima models list`, or one of the hub."""

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nima_cli.cli import stop
from nima_cli.config.synonyms import closest
from nima_cli.errors import CheckpointError
from nima_cli.files import explaining

if TYPE_CHECKING:
    from nima_cli.engine.pretrained.registry import NamedModel

WAYS = (
    "a checkpoint, a run directory (then its best), a Hugging Face folder, a .gguf file, a name of `nima models list`, "
    "or hf:OWNER/NAME"
)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model on disk.

    Attributes:
        text: as it was named.
        name: of a model that is known by one; None for what was named by its path.
    """

    text: str
    path: Path
    name: str | None = None


def models_dir() -> Path:
    """The folder of models that came from package indexes."""
    from nima_cli.cli.home import home

    return home() / "models"


def model_text(text: str) -> str:
    """A reference of the command line; an empty one, from an unset variable of a shell, would mean this folder."""
    if not text:
        raise typer.BadParameter("the path is empty")
    return text


def complete_model(incomplete: str) -> list[str]:
    """The known names that begin like this; where there is none, the shell completes paths."""
    from nima_cli.engine.pretrained.registry import KNOWN_MODELS

    return [known.name for known in KNOWN_MODELS if known.name.startswith(incomplete)]


def local_model(text: str, *, what: str = "checkpoint") -> "tuple[ModelRef | None, NamedModel | None]":
    """The model that `text` names, if it is here, and what it can be fetched as; what exists on disk comes first.

    Raises:
        CheckpointError: there is nothing of that name; says that `what` is not there.
    """
    path = Path(text)
    with explaining(path, "look for a model there"):
        if path.exists():
            return ModelRef(text, path), None
    from nima_cli.engine.pretrained.fetch import find, named_model

    model = named_model(text)
    if model is None:
        near = nearest_known(text)
        hint = f"did you mean `{near}`?" if near else f"give {WAYS}"
        raise CheckpointError(f"{text}: no such {what}", hint=hint)
    found = find(model, models_dir())
    return (ModelRef(text, found, model.name) if found is not None else None), model


def find_model(text: str, *, quiet: bool, what: str = "checkpoint") -> ModelRef:
    """The model that `text` names, fetched if it is not here; see `local_model`.

    Raises:
        CheckpointError: there is nothing of that name.
        NimaError: it cannot be fetched.
    """
    ref, model = local_model(text, what=what)
    if ref is not None:
        return ref
    assert model is not None, "what is not here can be fetched"
    return ModelRef(text, fetch_model(model, quiet=quiet), model.name)


class _Polling:
    """An event handler that leaves when a signal has asked for it."""

    def __call__(self, event: object, /) -> None:
        stop.leave_if_requested()

    def close(self) -> None:
        """Nothing is open."""


def fetch_model(model: "NamedModel", *, quiet: bool) -> Path:
    """Fetch a model, with its progress on a terminal; a signal that ends it leaves nothing behind."""
    from nima_cli.cli.event_handlers import run
    from nima_cli.engine.pretrained.fetch import fetch
    from nima_cli.ui.console import say
    from nima_cli.ui.formatting import size
    from nima_cli.ui.progress_view import DownloadView

    if not quiet:
        origin = "" if model.name == str(model.source) else f" from {model.source}"
        say(f"fetching {model.name}{origin}{f' ({size(model.bytes)})' if model.bytes else ''}")
    with stop.installed(), closing(fetch(model, models_dir(), environ=os.environ)) as steps:
        path = run(steps, [DownloadView(quiet=quiet), _Polling()])
    stop.leave_if_requested()
    return path


def nearest_known(text: str) -> str | None:
    """The known name that is spelled most like `text`, if any is close."""
    from nima_cli.engine.pretrained.registry import KNOWN_MODELS

    return closest(text.lower(), [known.name for known in KNOWN_MODELS])
