"""From sources to a prepared dataset: read and clean, dedup, split, tokenizer, encode, contamination check, publish.

A file holds documents; a document is cleaned, belongs to one split, and is encoded into samples, which training packs
into rows. The same inputs, options and seed give the same bytes, whatever the order of the sources or the workers.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nima_cli import __version__
from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.corpus import Corpus, Numbers
from nima_cli.engine.data.dedup.contamination import EncodedSplit, contamination_report, contamination_warning
from nima_cli.engine.data.dedup.dedup import remove_duplicates, require_enough
from nima_cli.engine.data.diagnostics import Diagnostic
from nima_cli.engine.data.ingest.sources import Source
from nima_cli.engine.data.input_report import count_inputs, left_out_events, walk_notes
from nima_cli.engine.data.parallel import Mapper, process_mapper
from nima_cli.engine.data.ray_mapper import ray_mapper
from nima_cli.engine.data.read_corpus import read_corpus
from nima_cli.engine.data.split import Splits, cut_large_documents, split
from nima_cli.engine.data.staleness import difference, identity, opened_sources
from nima_cli.engine.data.store.dataset_files import FORMAT, METADATA, read_metadata, token_dtype, tokenizer_name
from nima_cli.engine.data.store.dataset_writer import DatasetWriter, locked_folder, refuse_foreign_files, staged
from nima_cli.engine.data.store.document_store import DocumentStore
from nima_cli.engine.data.store.encode_shard import EncodedShard, EncodeTask, encode_shard
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import DataError
from nima_cli.events import DatasetReady, Event, Note, Progress

# Starting processes costs more than they save on fewer bytes.
PARALLEL_FROM_BYTES = 4 * 2**20
# Vocabulary chosen for the corpus: one token for so many characters to train on, within bounds.
CHARACTERS_PER_TOKEN = 256
VOCAB_BOUNDS = (512, 8192)
TOKENIZER_SAMPLE_CHARACTERS = 20_000_000

STORE = "documents.spool"

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

    Args:
        config: what to read and how, or just the sources; without sources, the embedded one.
        overwrite: replace any dataset there; else one made from the same sources with the same options is kept.
        workers: processes; no influence on the result. With more than 1, a script of your own must begin its work
            under `if __name__ == "__main__":`, because the processes import it.
        cluster: address of a Ray cluster that does the work, or `local` for one of `workers` processes that is started
            here; no influence on the result.

    Raises:
        DataError: sources or options that cannot be used, or another dataset in the way; nothing has been written.
        CheckpointError: `tokenizer_from` is not a tokenizer that nima can use.
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
            already = f"{output_dir} is already prepared from these sources with these options"
            yield Note("info", f"{already}; pass `overwrite=True` to redo")
            yield _ready(output_dir, read_metadata(output_dir))
            return
        # The processes of a cluster have working folders of their own.
        folder = output_dir if cluster is None else output_dir.absolute()
        with staged(folder) as writer, _mapper(sources, writer.staging, workers, cluster) as run:
            metadata = yield from _make(config, sources, wanted, writer, run)
        yield _ready(output_dir, metadata)


def _mapper(
    sources: Sequence[Source], folder: Path, workers: int, cluster: str | None
) -> AbstractContextManager[Mapper]:
    if cluster is not None:
        folders = {source.files[0].path.absolute().parent for source in sources if source.files}
        return ray_mapper(cluster, workers, [folder, *sorted(folders)])
    size = sum(source.size for source in sources)
    return process_mapper(workers if size >= PARALLEL_FROM_BYTES else 1)


def _ready(folder: Path, metadata: Metadata) -> DatasetReady:
    totals = {
        key: sum(split[key] for split in metadata["splits"].values()) for key in ("documents", "samples", "tokens")
    }
    return DatasetReady(folder, **totals, vocab_size=metadata["tokenizer"]["vocab_size"])


def _make(
    config: DataConfig, sources: Sequence[Source], wanted: Mapping[str, Any], writer: DatasetWriter, run: Mapper
) -> Generator[Event, None, Metadata]:
    """Make and publish the dataset of the identity `wanted`, stage by stage; returns its metadata."""
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
        notes = writer.write_tokenizer(tokenizer)
        encoded, described, overlong = yield from _encode(config, corpus, splits, tokenizer, writer, run)
        metadata = {**_metadata(config, wanted, corpus, tokenizer), "contiguous": cut}
        inputs = count_inputs(sources, corpus.reports)
        # What a preparation wrote must not change what the same one writes the next time.
        metadata["inputs"] = [asdict(row) for row in inputs if row.reason not in ("output", "report")]
        metadata["notes"], metadata["splits"] = notes, described
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
    """Reuse or train the tokenizer, on the train split only."""
    tokenizer: Tokenizer
    yield Progress("tokenizer", 0, 1, "tokenizer")
    if config.tokenizer_from:
        tokenizer = load_tokenizer(Path(config.tokenizer_from))
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
        exact = config.vocab_size is not None
        tokenizer = SentencePieceTokenizer.train(texts, kind=config.tokenizer, vocab_size=size, exact=exact)
    yield Progress("tokenizer", 1, 1, "tokenizer")
    return tokenizer


def _tokenizer_sample(corpus: Corpus, train: Numbers) -> Iterator[str]:
    """Texts of the first documents in shuffled order, as many as training needs."""
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
    config: DataConfig, corpus: Corpus, splits: Splits, tokenizer: Tokenizer, writer: DatasetWriter, run: Mapper
) -> Generator[Event, None, tuple[dict[str, EncodedSplit], Metadata, int]]:
    """Write the splits; returns them, their metadata, and how many samples are too long."""
    zero_weights = bool(corpus.table["zero_weights"][corpus.kept].any())
    # The chat format of a pretrained model may begin with any symbol, so that `bos_id` does not tell what has no loss.
    masked = config.loss == "assistant" or zero_weights or tokenizer.kind == "hf"
    task = EncodeTask(
        store=corpus.store,
        tokenizer=(writer.staging / tokenizer_name(tokenizer.kind), tokenizer.sha256),
        max_length=config.max_length,
        heading_context=config.heading_context,
        loss=config.loss,
        masked=masked,
        names=tuple(report.name for report in corpus.reports),
        places=(),
    )
    done, total, overlong = 0, sum(map(len, splits.values())), 0
    dropped: list[tuple[int, Diagnostic]] = []

    def progress(shard: EncodedShard) -> Progress:
        nonlocal done, overlong
        dropped.extend((done + place, problem) for place, problem in shard.dropped)
        done += shard.counts.documents + len(shard.dropped)
        overlong += shard.overlong
        return Progress("encode", done, total, "documents")

    dtype = token_dtype(tokenizer.vocab_size)
    encoded: dict[str, EncodedSplit] = {}
    described: Metadata = {}
    for name, numbers in splits.items():
        first = done
        tasks = (replace(task, places=tuple(corpus.places(batch))) for batch in corpus.batches(numbers))
        counts, lengths = yield from writer.write_split(name, run(encode_shard, tasks), progress, masked=masked)
        described[name] = {**asdict(counts), "sha256": writer.hashes[f"{name}.bin"]}
        for place, problem in dropped:
            yield corpus.drop(int(numbers[place - first]), problem)
        if not counts.samples:
            raise _nothing_left(name, dropped[0][1])
        kept = np.delete(numbers, [place - first for place, _ in dropped])
        encoded[name] = EncodedSplit(writer.staging / f"{name}.bin", dtype, kept, lengths)
        dropped.clear()
    return encoded, described, overlong


def _nothing_left(split: str, problem: Diagnostic) -> DataError:
    return DataError(
        f"every document of the {split} split was dropped; the first: {problem.what}",
        hint="give more documents, or use another model's tokenizer",
    )


def _metadata(config: DataConfig, wanted: Mapping[str, Any], corpus: Corpus, tokenizer: Tokenizer) -> Metadata:
    """The metadata; `splits`, `leaks`, `inputs`, `files` and `notes` are filled in later."""
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
                **{key: getattr(report, key) for key in ("name", "path", "format", "weight", "files")},
                "documents": count + report.dropped.total(),
                "kept": count,
                "dropped": dict(sorted(report.dropped.items())),
                "bytes": report.bytes,
            }
            for count, report in zip(kept, corpus.reports, strict=True)
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
