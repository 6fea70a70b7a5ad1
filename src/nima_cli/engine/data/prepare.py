"""From sources to a prepared dataset: read and clean, dedup, split, tokenizer, encode, contamination check, publish.

A file holds documents; a document is cleaned, belongs to one split, and is encoded into samples, which training packs
into rows.

Every decision is a function of the inputs, the options and the seed, never of time, order of hashing, order of the
sources, working folder or number of workers, so the same call gives the same bytes.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli import __version__
from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.contiguous import cut_large_documents
from nima_cli.engine.data.corpus import Corpus
from nima_cli.engine.data.dedup.contamination_report import (
    EncodedSplit,
    contamination_report,
    contamination_warning,
)
from nima_cli.engine.data.dedup.dedup import remove_duplicates, require_enough
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.input_report import count_inputs, left_out_events, walk_notes
from nima_cli.engine.data.parallel import Mapper, process_mapper
from nima_cli.engine.data.ray_mapper import ray_mapper
from nima_cli.engine.data.read_corpus import read_corpus
from nima_cli.engine.data.split import split
from nima_cli.engine.data.staleness import difference, identity, opened_sources
from nima_cli.engine.data.store.dataset_files import FORMAT, METADATA, read_metadata, token_dtype, tokenizer_name
from nima_cli.engine.data.store.dataset_writer import DatasetWriter, locked_folder, refuse_foreign_files, staged
from nima_cli.engine.data.store.document_store import DocumentStore
from nima_cli.engine.data.store.encode_shard import EncodedShard, EncodeTask, encode_shard
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.errors import DataError
from nima_cli.events import DatasetReady, Event, Note, Progress

# Starting processes costs more than they save on fewer bytes.
PARALLEL_FROM_BYTES = 4 * 2**20
# Vocabulary chosen for the corpus: one token for so many characters to train on, within bounds.
CHARACTERS_PER_TOKEN = 256
VOCAB_BOUNDS = (512, 8192)
TOKENIZER_SAMPLE_CHARACTERS = 20_000_000

STORE = "documents.spool"

Numbers = npt.NDArray[np.int64]
Metadata = dict[str, Any]


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
    sources = opened_sources(config, output_dir)
    refuse_foreign_files(output_dir, overwrite=overwrite)
    with locked_folder(output_dir):
        wanted = identity(config, sources)
        if not overwrite and (output_dir / METADATA).exists():
            reason = difference(wanted, output_dir)
            if reason is not None:
                raise DataError(
                    f"{output_dir}: there is a dataset already, and {reason}",
                    hint="pass `overwrite=True` to replace it, or choose another folder",
                )
            said = f"{output_dir} is already prepared from these sources with these options"
            yield Note("info", f"{said}; pass `overwrite=True` to redo")
            yield _ready(output_dir, read_metadata(output_dir))
            return
        # The processes of a cluster have working folders of their own.
        folder = output_dir if cluster is None else output_dir.absolute()
        with staged(folder) as writer, _mapper(sources, writer.staging, workers, cluster) as run:
            metadata = yield from _make(config, sources, wanted, writer, run)
        yield _ready(output_dir, metadata)


def _mapper(
    sources: Sequence[Source], staging: Path, workers: int, cluster: str | None
) -> AbstractContextManager[Mapper]:
    if cluster is not None:
        folders = {source.files[0].path.absolute().parent for source in sources if source.files}
        return ray_mapper(cluster, workers, [staging, *sorted(folders)])
    size = sum(source.size for source in sources)
    return process_mapper(workers if size >= PARALLEL_FROM_BYTES else 1)


def _ready(folder: Path, metadata: Metadata) -> DatasetReady:
    splits = metadata["splits"].values()
    return DatasetReady(
        folder,
        documents=sum(split["documents"] for split in splits),
        samples=sum(split["samples"] for split in splits),
        tokens=sum(split["tokens"] for split in splits),
        vocab_size=metadata["tokenizer"]["vocab_size"],
    )


def _make(
    config: DataConfig, sources: Sequence[Source], wanted: Mapping[str, Any], writer: DatasetWriter, run: Mapper
) -> Generator[Event, None, Metadata]:
    """Make and publish the dataset, stage by stage; returns its metadata.

    Args:
        wanted: the identity of the dataset; goes into the metadata as it is.
        run: maps pure functions over tasks, on however many cores.
    """
    store = DocumentStore(writer.staging / STORE)
    try:
        yield from left_out_events(sources)
        corpus = yield from read_corpus(config, sources, store, run)
        yield from remove_duplicates(config, corpus, run)
        cut = yield from cut_large_documents(config, corpus, store)
        try:
            require_enough(corpus)
        except DataError:  # what was not read may be why
            yield from walk_notes(config.exclude, sources)
            yield from count_inputs(sources, corpus.reports)
            raise
        splits = split(corpus.table["order"], corpus.clusters, corpus.numbers(), config, corpus.assigned)
        tokenizer = yield from _tokenizer(config, corpus, splits["train"])
        metadata = {**_metadata(config, wanted, corpus, tokenizer), "contiguous": cut}
        inputs = count_inputs(sources, corpus.reports)
        # What a preparation wrote must not change what the same one writes the next time.
        metadata["inputs"] = [asdict(row) for row in inputs if row.reason not in ("output", "report")]
        metadata["notes"] = writer.write_tokenizer(tokenizer)
        encoded, overlong = yield from _encode(config, corpus, splits, tokenizer, writer, metadata, run)
        yield Progress("leaks", 0, 2, "splits compared")
        metadata["leaks"] = contamination_report(encoded, corpus, tokenizer)
        yield Progress("leaks", 2, 2, "splits compared")
    finally:
        store.close()
    metadata["files"] = dict(sorted(writer.hashes.items()))
    writer.publish(metadata)
    yield from _closing_notes(config, metadata, overlong)
    yield from walk_notes(config.exclude, sources)
    yield from inputs
    return metadata


def _tokenizer(config: DataConfig, corpus: Corpus, train: Numbers) -> Generator[Event, None, Tokenizer]:
    """Reuse or train the tokenizer; it sees the train split only."""
    yield Progress("tokenizer", 0, 1, "tokenizer")
    if config.tokenizer_from:
        tokenizer = Tokenizer.load(Path(config.tokenizer_from))
        if config.vocab_size not in (None, tokenizer.vocab_size):
            raise DataError(
                f"`vocab_size` {config.vocab_size} contradicts `tokenizer_from`, which has {tokenizer.vocab_size}",
                hint="leave out `vocab_size=`",
            )
    else:
        size = config.vocab_size
        if size is None:
            characters = int(corpus.table["characters"][train].sum(dtype=np.int64))
            low, high = VOCAB_BOUNDS
            size = min(max(characters // CHARACTERS_PER_TOKEN // 64 * 64, low), high)
            yield Note("info", f"vocabulary of {size:,} tokens for {characters:,} characters to train on")
        texts = _tokenizer_sample(corpus, train)
        tokenizer = Tokenizer.train(texts, kind=config.tokenizer, vocab_size=size, exact=config.vocab_size is not None)
    yield Progress("tokenizer", 1, 1, "tokenizer")
    return tokenizer


def _tokenizer_sample(corpus: Corpus, train: Numbers) -> Iterator[str]:
    """The first documents in shuffled order, as many as training needs."""
    left = TOKENIZER_SAMPLE_CHARACTERS
    characters = np.cumsum(corpus.table["characters"][train], dtype=np.int64)
    enough = int(np.searchsorted(characters, left)) + 1
    for document in corpus.documents(train[:enough]):
        for text in (document.text, *(turn.content for turn in document.turns)):
            yield text[:left]
            left -= len(text)
            if left <= 0:
                return


def _encode(
    config: DataConfig,
    corpus: Corpus,
    splits: Mapping[str, Numbers],
    tokenizer: Tokenizer,
    writer: DatasetWriter,
    metadata: Metadata,
    run: Mapper,
) -> Generator[Event, None, tuple[dict[str, EncodedSplit], int]]:
    """Write the splits and fill in `splits`; returns where they lie, and how many samples are too long."""
    masked = config.loss == "assistant" or metadata["zero_weight_messages"] > 0
    task = EncodeTask(
        spool=corpus.store,
        tokenizer=(writer.staging / tokenizer_name(tokenizer.kind), tokenizer.sha256),
        max_length=config.max_length,
        heading_context=config.heading_context,
        loss=config.loss,
        masked=masked,
        names=tuple(report.name for report in corpus.reports),
        places=(),
    )
    done, total, overlong = 0, sum(map(len, splits.values())), 0

    def progress(shard: EncodedShard) -> Progress:
        nonlocal done, overlong
        done += shard.documents
        overlong += shard.overlong
        return Progress("encode", done, total, "documents")

    dtype = token_dtype(tokenizer.vocab_size)
    encoded: dict[str, EncodedSplit] = {}
    for name, numbers in splits.items():
        tasks = (replace(task, places=tuple(corpus.places(batch))) for batch in corpus.batches(numbers))
        counts, lengths = yield from writer.write_split(name, run(encode_shard, tasks), progress, masked=masked)
        metadata["splits"][name] = {**asdict(counts), "sha256": writer.hashes[f"{name}.bin"]}
        encoded[name] = EncodedSplit(writer.staging / f"{name}.bin", dtype, numbers, lengths)
    return encoded, overlong


def _metadata(config: DataConfig, wanted: Mapping[str, Any], corpus: Corpus, tokenizer: Tokenizer) -> Metadata:
    """The metadata but for what writing finds out: `splits`, `leaks`, `files` and `notes`."""
    kept = np.bincount(corpus.table["source"][corpus.kept], minlength=len(corpus.reports)).tolist()
    dropped = [report.dropped for report in corpus.reports]
    exact = sum(one["duplicate"] for one in dropped) if config.dedupe != "off" else None
    near = sum(one["near_duplicate"] for one in dropped) if config.dedupe == "near" else None
    _, sizes = np.unique(corpus.clusters[corpus.kept], return_counts=True)
    clusters = {"clusters": int((sizes > 1).sum()), "clustered": int(sizes[sizes > 1].sum())}
    return {
        "format": FORMAT,
        "nima_version": __version__,
        **wanted,
        "seed": config.seed,
        "loss": config.loss,
        "zero_weight_messages": int(corpus.table["zero_weights"][corpus.kept].sum(dtype=np.int64)),
        "dtype": token_dtype(tokenizer.vocab_size).name,
        "tokenizer": {"type": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256},
        "splits": {},
        "sources": [
            {
                "name": report.name,
                "path": report.path,
                "format": report.format,
                "weight": report.weight,
                "files": report.files,
                "documents": kept[number] + report.dropped.total(),
                "kept": kept[number],
                "dropped": dict(sorted(report.dropped.items())),
                "bytes": report.bytes,
            }
            for number, report in enumerate(corpus.reports)
        ],
        "duplicates": {"exact": exact, "near": near, **clusters},
        "leaks": {},
        "inputs": [],
        "cleaning": asdict(corpus.cleaning),
        "notes": [],
        "files": {},
    }


def _closing_notes(config: DataConfig, metadata: Metadata, overlong: int) -> Iterator[Event]:
    for note in metadata["notes"]:
        yield Note("info", note)
    if overlong:
        yield Note("info", f"{overlong:,} exchanges are longer than {config.max_length} tokens and were kept whole")
    warning = contamination_warning(metadata)
    if warning is not None:
        yield Note("warning", warning)
    for name, counts in metadata["splits"].items():
        if counts["tokens"] < config.max_length:
            yield Note("warning", f"the {name} split has only {counts['tokens']:,} tokens; give more documents")
