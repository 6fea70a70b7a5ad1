"""Finds or makes the dataset that a command needs; the engine does the work."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nima_cli.events import Event, Note

if TYPE_CHECKING:
    from nima_cli.config.data_schema import DataConfig
    from nima_cli.config.schema import Config


def with_sources(config: "Config") -> "Config":
    """The configuration with the embedded source filled in where the user named no data at all."""
    if config.data.dir is not None or config.data.sources:
        return config
    from nima_cli.config.data_schema import BUILTIN_SOURCE, SourceConfig
    from nima_cli.config.schema import Config

    sources = [SourceConfig(path=BUILTIN_SOURCE).model_dump()]
    return Config.model_validate({**config.model_dump(), "data": {**config.data.model_dump(), "sources": sources}})


def data_dir(data: "DataConfig") -> Path:
    """Where the prepared dataset is or will be: `data.dir`, or a folder of nima's own named after its options."""
    if data.dir is not None:
        return Path(data.dir)
    from nima_cli.config.environ import home

    options = json.dumps(data.model_dump(mode="json"), sort_keys=True)
    name = hashlib.sha256(options.encode()).hexdigest()[:12]
    return home() / "datasets" / name


def ensure_prepared(data: "DataConfig", *, workers: int) -> Iterator[Event]:
    """Prepare the dataset when it is missing or its sources changed; says why, and nothing when it is current.

    Raises:
        NimaError: there is nothing to prepare from, or preparing failed.
    """
    from nima_cli.engine.data.prepare import prepare, staleness

    if not data.sources:
        return
    folder = data_dir(data)
    reason = staleness(data, folder)
    if reason is None:
        return
    yield Note("info", f"preparing {folder}: {reason}")
    yield from prepare(data, folder, overwrite=True, workers=workers)
