"""The phases of making a dataset in a staging folder: read, dedupe, split, tokenizer, encode, leaks, publish.

Knows nothing of locks, of datasets that are already there, or of how events are shown.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli import __version__
from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.contiguous import cut_large_documents
from nima_cli.engine.data.corpus import Corpus, kept_by_source, read_corpus
from nima_cli.engine.data.dedup.contamination_report import SplitOnDisk, leak_report, leak_warning
from nima_cli.engine.data.dedup.dedup import make_unique, require_enough
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.inputs import count_inputs, first_drops, left_out_events, walk_notes
from nima_cli.engine.data.parallel import Mapper
from nima_cli.engine.data.source_report import SourceReport
from nima_cli.engine.data.split import split
from nima_cli.engine.data.store.dataset_files import FORMAT, token_dtype, tokenizer_name
from nima_cli.engine.data.store.dataset_writer import DatasetWriter
from nima_cli.engine.data.store.document_store import Spool
from nima_cli.engine.data.store.encode_shard import EncodedShard, EncodeTask, encode_shard
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.errors import DataError
from nima_cli.events import Event, Note, Progress

# Vocabulary chosen for the corpus: one token for so many characters to train on, within bounds.
CHARACTERS_PER_TOKEN = 256
VOCAB_BOUNDS = (512, 8192)
TOKENIZER_SAMPLE_CHARACTERS = 20_000_000

SPOOL = "documents.spool"

Numbers = npt.NDArray[np.int64]
Metadata = dict[str, Any]


def make_dataset(
    config: DataConfig, sources: Sequence[Source], identity: Mapping[str, Any], writer: DatasetWriter, run: Mapper
) -> Generator[Event, None, Metadata]:
    """Make and publish the dataset; returns its metadata.

    Args:
        identity: goes into the metadata as it is.
        run: maps pure functions over tasks, on however many cores.

    Raises:
        DataError: sources or options that cannot be used.
        CheckpointError: `tokenizer_from` is no tokenizer of nima.
        ResourceError: the machine refused.
    """
    spool = Spool(writer.staging / SPOOL)
    first: dict[str, str] = {}
    yield from left_out_events(sources)
    try:
        corpus = yield from first_drops(read_corpus(config, sources, spool, run), first)
        yield from first_drops(make_unique(config, corpus, run), first)
        cut = yield from cut_large_documents(config, corpus, spool)
        try:
            require_enough(corpus)
        except DataError:  # what was not read may be why
            yield from walk_notes(config.exclude, sources)
            yield from count_inputs(sources, corpus.reports, first)
            raise
        parts = split(corpus.rows["order"], corpus.clusters, corpus.numbers(), config, corpus.assigned)
        tokenizer = yield from _tokenizer(config, corpus, parts["train"])
        metadata = {**_metadata(config, identity, corpus, tokenizer), "contiguous": [asdict(one) for one in cut]}
        inputs = count_inputs(sources, corpus.reports, first)
        # What a preparation wrote must not change what the same one writes the next time.
        metadata["inputs"] = [asdict(row) for row in inputs if row.reason not in ("output", "report")]
        metadata["notes"] = writer.write_tokenizer(tokenizer)
        written, overlong = yield from _encode(config, corpus, parts, tokenizer, writer, metadata, run)
        yield Progress("leaks", 0, 2, "splits compared")
        metadata["leaks"] = leak_report(written, corpus, tokenizer)
        yield Progress("leaks", 2, 2, "splits compared")
    finally:
        spool.close()
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
                hint="leave out `--vocab-size`",
            )
    else:
        size = config.vocab_size
        if size is None:
            size, characters = _vocab_size_for(corpus, train)
            yield Note("info", f"vocabulary of {size:,} tokens for {characters:,} characters to train on")
        texts = _tokenizer_sample(corpus, train)
        tokenizer = Tokenizer.train(texts, kind=config.tokenizer, vocab_size=size, exact=config.vocab_size is not None)
    yield Progress("tokenizer", 1, 1, "tokenizer")
    return tokenizer


def _vocab_size_for(corpus: Corpus, train: Numbers) -> tuple[int, int]:
    """A multiple of 64 in proportion to the text, and the characters of the text."""
    characters = int(corpus.rows["characters"][train].sum(dtype=np.int64))
    low, high = VOCAB_BOUNDS
    return min(max(characters // CHARACTERS_PER_TOKEN // 64 * 64, low), high), characters


def _tokenizer_sample(corpus: Corpus, train: Numbers) -> Iterator[str]:
    """The first documents in shuffled order, as many as training needs."""
    left = TOKENIZER_SAMPLE_CHARACTERS
    characters = np.cumsum(corpus.rows["characters"][train], dtype=np.int64)
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
    parts: Mapping[str, Numbers],
    tokenizer: Tokenizer,
    writer: DatasetWriter,
    metadata: Metadata,
    run: Mapper,
) -> Generator[Event, None, tuple[dict[str, SplitOnDisk], int]]:
    """Write the splits and fill in `splits`; returns where they lie, and how many samples are too long."""
    masked = config.loss == "assistant" or metadata["zero_weight_messages"] > 0
    task = EncodeTask(
        spool=corpus.spool,
        tokenizer=(writer.staging / tokenizer_name(tokenizer.kind), tokenizer.sha256),
        max_length=config.max_length,
        heading_context=config.heading_context,
        loss=config.loss,
        masked=masked,
        names=tuple(report.name for report in corpus.reports),
        places=(),
    )
    progress = _Encoding(sum(map(len, parts.values())))
    written: dict[str, SplitOnDisk] = {}
    for name, numbers in parts.items():
        tasks = (replace(task, places=tuple(corpus.places(batch))) for batch in corpus.batches(numbers))
        shards = run(encode_shard, tasks)
        counts, lengths = yield from writer.write_split(name, shards, progress.after, masked=masked)
        metadata["splits"][name] = {**asdict(counts), "sha256": writer.hashes[f"{name}.bin"]}
        written[name] = SplitOnDisk(writer.staging / f"{name}.bin", token_dtype(tokenizer.vocab_size), numbers, lengths)
    return written, progress.overlong


class _Encoding:
    """How far encoding is."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total
        self.overlong = 0

    def after(self, shard: EncodedShard) -> Progress:
        self._done += shard.documents
        self.overlong += shard.overlong
        return Progress("encode", self._done, self._total, "documents")


def _metadata(config: DataConfig, identity: Mapping[str, Any], corpus: Corpus, tokenizer: Tokenizer) -> Metadata:
    """The metadata but for what writing finds out: `splits`, `leaks`, `files` and `notes`."""
    kept = kept_by_source(corpus)
    exact = corpus.exact if config.dedupe != "off" else None
    near = corpus.near if config.dedupe == "near" else None
    return {
        "format": FORMAT,
        "nima_version": __version__,
        **identity,
        "seed": config.seed,
        "loss": config.loss,
        "zero_weight_messages": int(corpus.rows["zero_weights"][corpus.kept].sum(dtype=np.int64)),
        "dtype": token_dtype(tokenizer.vocab_size).name,
        "tokenizer": {"type": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256},
        "splits": {},
        "sources": [_source_entry(report, kept[number]) for number, report in enumerate(corpus.reports)],
        "duplicates": {"exact": exact, "near": near, **_cluster_counts(corpus)},
        "leaks": {},
        "inputs": [],
        "cleaning": asdict(corpus.cleaning),
        "notes": [],
        "files": {},
    }


def _cluster_counts(corpus: Corpus) -> dict[str, int]:
    """Clusters of alike documents that were kept together, and the documents in them."""
    _, sizes = np.unique(corpus.clusters[corpus.kept], return_counts=True)
    return {"clusters": int((sizes > 1).sum()), "clustered": int(sizes[sizes > 1].sum())}


def _source_entry(report: SourceReport, kept: int) -> Metadata:
    return {
        "name": report.name,
        "path": report.path,
        "format": report.format,
        "weight": report.weight,
        "files": report.files,
        "documents": kept + sum(report.dropped.values()),
        "kept": kept,
        "dropped": dict(sorted(report.dropped.items())),
        "bytes": report.bytes,
    }


def _closing_notes(config: DataConfig, metadata: Mapping[str, Any], overlong: int) -> Iterator[Event]:
    for note in metadata["notes"]:
        yield Note("info", note)
    if overlong:
        yield Note("info", f"{overlong:,} exchanges are longer than {config.max_length} tokens and were kept whole")
    leaking = leak_warning(metadata)
    if leaking is not None:
        yield Note("warning", leaking)
    for name, counts in metadata["splits"].items():
        if counts["tokens"] < config.max_length:
            yield Note("warning", f"the {name} split has only {counts['tokens']:,} tokens; give more documents")
