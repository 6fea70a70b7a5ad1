"""From sources to a prepared dataset, made anew or found to be current; shows nothing.

Every decision is a function of the inputs, the options and the seed, never of time, order of hashing, order of the
sources, working folder or number of workers, so the same call gives the same bytes.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from nima_cli.config.data_schema import BUILTIN_SOURCE, DataConfig, SourceConfig
from nima_cli.engine.data.ingest.sources import Source, fingerprint, open_sources
from nima_cli.engine.data.ingest.walk.ignoring import WalkOptions
from nima_cli.engine.data.parallel import Mapper, mapper
from nima_cli.engine.data.pipeline import make_dataset
from nima_cli.engine.data.ray_mapper import ray_mapper
from nima_cli.engine.data.store.dataset_files import METADATA, read_dataset, read_metadata
from nima_cli.engine.data.store.dataset_writer import locked_folder, refuse_foreign_files, staged
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.errors import DataError, NimaError
from nima_cli.events import DatasetReady, Event, Note

# Starting processes costs more than they save on fewer bytes.
PARALLEL_FROM_BYTES = 4 * 2**20

# These say which files are read; whether others would be, the fingerprint of the sources tells.
_OF_THE_WALK = frozenset({"exclude", "default_excludes", "respect_gitignore", "include_code"})


def prepare(
    config: DataConfig | Sequence[SourceConfig],
    output_dir: Path,
    *,
    overwrite: bool,
    workers: int,
    cluster: str | None = None,
) -> Iterator[Event]:
    """Make the dataset in `output_dir`, yielding Progress and Note events and finally DatasetReady.

    A dataset made from the same sources with the same options is left as it is, unless `overwrite`.

    Args:
        config: what to read and how, or just the sources; without sources, the embedded one.
        overwrite: replace what is there.
        workers: processes; has no influence on the result. With more than 1, a script of your own must begin its work
            under `if __name__ == "__main__":`, because the processes import it.
        cluster: address of a Ray cluster whose processes do the work, `local` for one of `workers` processes that is
            started here; None does without Ray. Has no influence on the result either.

    Raises:
        DataError: sources or options that cannot be used, or another dataset in the way; nothing has been written.
        CheckpointError: `tokenizer_from` is no tokenizer of nima.
        ResourceError: the machine or the cluster refused; an old dataset is then still there, or none.
    """
    if not isinstance(config, DataConfig):
        config = DataConfig(sources=list(config))
    sources = _opened(config, output_dir)
    refuse_foreign_files(output_dir, overwrite=overwrite)
    with locked_folder(output_dir):
        identity = _identity(config, sources)
        if not overwrite and (output_dir / METADATA).exists():
            yield from _keep(identity, output_dir)
            return
        # The processes of a cluster have working folders of their own.
        folder = output_dir if cluster is None else output_dir.absolute()
        with staged(folder) as writer, _mapper(sources, writer.staging, workers, cluster) as run:
            metadata = yield from make_dataset(config, sources, identity, writer, run)
        yield _ready(output_dir, metadata)


def _opened(config: DataConfig, output_dir: Path) -> list[Source]:
    """The sources in an order of their own, so that the order in which they were named changes nothing.

    A file that several of them reach belongs to the one that names it most closely.
    """
    sources = config.sources or [SourceConfig(path=BUILTIN_SOURCE)]
    sources = [_with_fields(one, config) for one in sources]
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


def _with_fields(source: SourceConfig, config: DataConfig) -> SourceConfig:
    fields = {**(config.fields or {}), **(source.fields or {})}
    return source.model_copy(update={"fields": fields}) if fields else source


def _mapper(
    sources: Sequence[Source], staging: Path, workers: int, cluster: str | None
) -> contextlib.AbstractContextManager[Mapper]:
    if cluster is None:
        return mapper(_workers(sources, workers))
    folders = {source.files[0].path.absolute().parent for source in sources if source.files}
    return ray_mapper(cluster, workers, [staging, *sorted(folders)])


def _workers(sources: Sequence[Source], workers: int) -> int:
    size = sum(file.size for source in sources for file in source.files)
    return workers if size >= PARALLEL_FROM_BYTES else 1


def staleness(config: DataConfig, folder: Path) -> str | None:
    """Why the dataset in `folder` is not what `config` asks for, in a few words; None if it is.

    Raises:
        DataError: the sources cannot be opened.
        ResourceError: the sources cannot be read.
    """
    return _difference(_identity(config, _opened(config, folder)), folder)


def _identity(config: DataConfig, sources: Sequence[Source]) -> dict[str, Any]:
    """What makes two datasets the same: the options, the fingerprint of the sources, a tokenizer reused."""
    reused = Tokenizer.load(Path(config.tokenizer_from)).sha256 if config.tokenizer_from else None
    return {
        # Which files are read, the fingerprint of the sources tells.
        "options": config.model_dump(mode="json", exclude={"dir", "sources"}),
        "sources_sha256": fingerprint(sources),
        "reused_tokenizer_sha256": reused,
    }


def _difference(identity: Mapping[str, Any], folder: Path) -> str | None:
    if not (folder / METADATA).exists():
        return "it has not been prepared yet"
    try:
        found = read_dataset(folder, large_later=True).metadata
    except NimaError as error:
        return error.message.removeprefix(f"{folder}: ")
    was, wanted = found["options"], identity["options"]
    keys = [key for key in {**wanted, **was} if was.get(key) != wanted.get(key) and key not in _OF_THE_WALK]
    if keys:
        changes = ", ".join(f"`{key}` {was.get(key)} -> {wanted.get(key)}" for key in keys)
        return f"it was made with other options: {changes}"
    if found.get("reused_tokenizer_sha256") != identity["reused_tokenizer_sha256"]:
        return f"the tokenizer in `{wanted['tokenizer_from']}` has changed since"
    if found.get("sources_sha256") != identity["sources_sha256"]:
        return "its sources were others, or have changed since"
    return None


def _keep(identity: Mapping[str, Any], folder: Path) -> Iterator[Event]:
    reason = _difference(identity, folder)
    if reason is not None:
        raise DataError(
            f"{folder}: there is a dataset already, and {reason}",
            hint="pass `overwrite=True` to replace it, or choose another folder",
        )
    yield Note(
        "info", f"{folder} is already prepared from these sources with these options; pass `--overwrite` to redo"
    )
    yield _ready(folder, read_metadata(folder))


def _ready(folder: Path, metadata: Mapping[str, Any]) -> DatasetReady:
    splits = metadata["splits"].values()
    return DatasetReady(
        folder,
        documents=sum(split["documents"] for split in splits),
        samples=sum(split["samples"] for split in splits),
        tokens=sum(split["tokens"] for split in splits),
        vocab_size=metadata["tokenizer"]["vocab_size"],
    )
