"""Compares a prepared dataset with what a configuration asks for."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from nima_cli.config.data_schema import BUILTIN_SOURCE, DataConfig, SourceConfig
from nima_cli.engine.data.ingest.sources import Source, fingerprint, open_sources
from nima_cli.engine.data.ingest.walk.ignoring import WalkOptions
from nima_cli.engine.data.store.dataset_files import METADATA, read_dataset
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.errors import NimaError

# The fingerprint of the sources tells whether these options change what is read.
_OF_THE_WALK = frozenset({"exclude", "default_excludes", "respect_gitignore", "include_code"})


def staleness(config: DataConfig, folder: Path) -> str | None:
    """Why the dataset in `folder` is not what `config` asks for; None if it is.

    Raises:
        DataError: the sources cannot be opened.
        ResourceError: the sources cannot be read.
    """
    return difference(identity(config, opened_sources(config, folder)), folder)


def opened_sources(config: DataConfig, output_dir: Path) -> list[Source]:
    """Open the sources in an order that does not depend on the one they were named in.

    A file that several sources reach belongs to the one with the longest path.
    """
    sources = [
        source.model_copy(update={"fields": {**(config.fields or {}), **(source.fields or {})} or None})
        for source in config.sources or [SourceConfig(path=BUILTIN_SOURCE)]
    ]
    ranked = sorted(sources, key=lambda one: (-len(PurePath(one.path).parts), one.model_dump_json()))
    walking = WalkOptions(
        tuple(config.exclude),
        config.default_excludes,
        config.respect_gitignore,
        skip_unreadable=config.on_error == "skip",
        output=output_dir,
    )
    return open_sources(
        ranked, config.encoding, walking, include_code=config.include_code, as_written=not config.strip_markup
    )


def identity(config: DataConfig, sources: Sequence[Source]) -> dict[str, Any]:
    """What makes two datasets the same: options, fingerprint of the sources, and reused tokenizer."""
    reused = load_tokenizer(Path(config.tokenizer_from)).sha256 if config.tokenizer_from else None
    return {
        "options": config.model_dump(mode="json", exclude={"dir", "sources"}),
        "sources_sha256": fingerprint(sources),
        "reused_tokenizer_sha256": reused,
    }


def difference(wanted: Mapping[str, Any], folder: Path) -> str | None:
    """Why the dataset in `folder` does not have the `identity` that is wanted; None if it has."""
    if not (folder / METADATA).exists():
        return "it has not been prepared yet"
    try:
        found = read_dataset(folder, large_later=True).metadata
    except NimaError as error:
        return error.message.removeprefix(f"{folder}: ")
    was, options = found["options"], wanted["options"]
    keys = [key for key in {**options, **was} if was.get(key) != options.get(key) and key not in _OF_THE_WALK]
    if keys:
        changes = ", ".join(f"`{key}` {was.get(key)} -> {options.get(key)}" for key in keys)
        return f"it was made with other options: {changes}"
    if found.get("reused_tokenizer_sha256") != wanted["reused_tokenizer_sha256"]:
        return f"the tokenizer in `{options['tokenizer_from']}` has changed since"
    if found.get("sources_sha256") != wanted["sources_sha256"]:
        return "its sources were others, or have changed since"
    return None
