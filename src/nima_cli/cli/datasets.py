"""Finds or makes the dataset that a command needs, and what a checkpoint gives to it: shape and tokenizer."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.cli.home import home
from nima_cli.errors import DataError

if TYPE_CHECKING:
    from nima_cli.config.data_schema import DataConfig
    from nima_cli.config.schema import Config
    from nima_cli.engine.checkpoint.file import Checkpoint
    from nima_cli.events import Event

# Options of the tokenizer, and those whose flags take no single value.
_LEFT_OUT = {"tokenizer", "vocab_size", "tokenizer_from", "exclude", "fields", "include_code"}
_FILES = {".json": "--json-files", ".jsonl": "--jsonl-files"}


def with_sources(config: "Config") -> "Config":
    """The configuration, with the embedded source where no data is named."""
    if config.data.dir is not None or config.data.sources:
        return config
    from nima_cli.config.data_schema import BUILTIN_SOURCE, SourceConfig

    data = config.data.model_copy(update={"sources": [SourceConfig(path=BUILTIN_SOURCE)]})
    return config.model_copy(update={"data": data})


def data_dir(data: "DataConfig") -> Path:
    """The folder of the prepared dataset: `data.dir`, or one of nima's own named after its options."""
    if data.dir is not None:
        return Path(data.dir)
    options = json.dumps(data.model_dump(mode="json"), sort_keys=True)
    return home() / "datasets" / hashlib.sha256(options.encode()).hexdigest()[:12]


def ensure_prepared(data: "DataConfig", *, workers: int) -> "Iterator[Event]":
    """Prepare the dataset when it is missing or its sources changed; repeat the warning of one that is kept."""
    from nima_cli.engine.data.dedup.contamination import contamination_warning
    from nima_cli.engine.data.prepare import prepare
    from nima_cli.engine.data.staleness import staleness
    from nima_cli.engine.data.store.dataset_files import read_metadata
    from nima_cli.events import Note

    folder = data_dir(data)
    if reason := staleness(data, folder) if data.sources else None:
        yield Note("info", f"preparing {folder}: {reason}")
        yield from prepare(data, folder, overwrite=True, workers=workers)
    elif warning := contamination_warning(read_metadata(folder)):
        yield Note("warning", f"{folder}: {warning}")


def dataset_of_run(config: "Config", run_dir: Path, sha256: str | None) -> Path:
    """Find the dataset of a run by its configuration, and by its metadata's hash where both may have moved.

    The path is tried from the working directory, then from the run directory and the folders above it.

    Raises:
        DataError: it is nowhere.
    """
    from nima_cli.engine.data.store.dataset_files import METADATA
    from nima_cli.files import sha256_file

    said = data_dir(with_sources(config).data)
    above = (run_dir.absolute(), *run_dir.absolute().parents)
    parts = [part for part in said.parts if part not in (said.anchor, "..")]
    tails = [Path(*parts[first:]) for first in range(len(parts))]
    for folder in (said, *(place / tail for tail in tails for place in above)):
        if sha256 is not None and (folder / METADATA).is_file() and sha256_file(folder / METADATA) == sha256:
            return folder
    if not said.is_dir():
        raise DataError(f"{run_dir}: the dataset it was trained on is not at {said}", hint="name it with `--data`")
    return said


def kept_dataset(config: "Config", checkpoint: "Checkpoint", run_dir: Path) -> Path | None:
    """The dataset to resume with where the configuration does not lead to it from here; None where it does."""
    from nima_cli.config.schema import Config

    data = with_sources(Config.model_validate(checkpoint.header.get("config", {}))).data
    if config.data != data:
        return None  # the user has named other data
    if data.sources and not any(_is_missing(source.path) for source in data.sources):
        return None
    folder = dataset_of_run(config, run_dir, checkpoint.header.get("dataset_sha256"))
    return folder if data.sources or folder != data_dir(data) else None


def _is_missing(path: str) -> bool:
    from nima_cli.config.data_schema import BUILTIN_SOURCE

    return path not in (BUILTIN_SOURCE, "-") and not any(letter in path for letter in "*?[") and not Path(path).exists()


def prepare_again(folder: Path, metadata: Mapping[str, Any], model: str) -> str:
    """A command line that makes the dataset in `folder` again beside it, with the tokenizer of `model`."""
    from nima_cli.ui.console import command

    short = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in Path(model).name).strip("-.")
    made = folder.with_name(f"{folder.name}-{short or 'again'}")
    words = ["nima", "data", "prepare", "--output-dir", str(made), "--tokenizer-from", model]
    for source in metadata["sources"]:
        words += _source_flags(source)
    return command(*words, *_option_flags(metadata["options"]))


def _source_flags(source: Mapping[str, Any]) -> list[str]:
    """The flags of one source, as far as the metadata tells them."""
    path, form, weight = str(source["path"]), str(source["format"]), float(source["weight"])
    extra = f",format={form}" if form not in ("auto", "text", "markdown") else ""
    extra += f",weight={weight:g}" if weight != 1.0 else ""
    if extra or path.startswith("builtin:"):
        return ["--source", path + extra]
    if not Path(path).exists():  # what a shell made out of a pattern is told as `a.md and 3 more`
        return ["--text-files", "..."]
    return [_FILES.get(Path(path).suffix, "--text-files"), path]


def _option_flags(options: Mapping[str, Any]) -> Iterator[str]:
    """The flags of the options that are not the default."""
    from nima_cli.config.data_schema import DataConfig

    for key, value in options.items():
        field = DataConfig.model_fields.get(key)
        if field is None or key in _LEFT_OUT or value is None or value == field.default:
            continue
        yield "--dedup" if key == "dedupe" else f"--{key.replace('_', '-')}"
        yield str(value).lower() if isinstance(value, bool) else str(value)
    if options.get("include_code"):
        yield "--include-code"
    for pattern in options.get("exclude") or ():
        yield from ("--exclude", pattern)
