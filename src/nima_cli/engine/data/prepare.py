"""From sources to a prepared dataset: read, clean, dedupe, split, train the tokenizer, encode, write; shows nothing.

Every decision is a function of the inputs, the options and the seed, never of time, order of hashing, working folder
or number of workers, so the same call gives the same bytes. Nothing is written before everything has been read.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nima_cli import __version__
from nima_cli.config.schema import BUILTIN_SOURCE, DataConfig, SourceConfig
from nima_cli.engine.data.corpus import Corpus, read_corpus, split
from nima_cli.engine.data.dataset_files import FORMAT, METADATA, read_dataset, token_dtype
from nima_cli.engine.data.dataset_writer import DatasetWriter, locked_folder, refuse_foreign_files, staged
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.samples import EncodedDocument, encode_document
from nima_cli.engine.data.sources import Source, SourceReport, fingerprint, open_sources
from nima_cli.engine.data.tokenizer import Tokenizer
from nima_cli.errors import DataError, NimaError
from nima_cli.events import DatasetReady, Event, Note, Progress

# Vocabulary chosen for the corpus: one token for so many characters to train on, within bounds.
CHARACTERS_PER_TOKEN = 256
VOCAB_BOUNDS = (512, 8192)
TOKENIZER_SAMPLE_CHARACTERS = 20_000_000

_PROGRESS_EVERY = 64
_Step = Generator[Event, None, None]


def prepare(config: DataConfig, output_dir: Path, *, overwrite: bool, workers: int) -> Iterator[Event]:
    """Make the dataset in `output_dir`, yielding Progress and Note events and finally DatasetReady.

    A dataset made from the same sources with the same options is left as it is, unless `overwrite`.

    Args:
        config: what to read and how; without sources, the embedded one.
        overwrite: replace what is there.
        workers: threads that encode; has no influence on the result.

    Raises:
        DataError: sources or options that cannot be used, or another dataset in the way; nothing has been written.
        CheckpointError: `tokenizer_from` is no tokenizer of nima.
        ResourceError: the machine refused; an old dataset is then still there, or none.
    """
    sources = open_sources(_source_configs(config))
    with locked_folder(output_dir):
        identity = _identity(config, sources)
        if not overwrite and (output_dir / METADATA).exists():
            yield from _keep(identity, output_dir)
            return
        if not overwrite:
            refuse_foreign_files(output_dir)
        yield from _prepare(config, sources, identity, output_dir, workers)


def staleness(config: DataConfig, folder: Path) -> str | None:
    """Why the dataset in `folder` is not what `config` asks for, in a few words; None if it is.

    Raises:
        DataError: the sources cannot be opened.
        ResourceError: the sources cannot be read.
    """
    return _difference(_identity(config, open_sources(_source_configs(config))), folder)


def _source_configs(config: DataConfig) -> Sequence[SourceConfig]:
    return config.sources or [SourceConfig(path=BUILTIN_SOURCE)]


def _identity(config: DataConfig, sources: Sequence[Source]) -> dict[str, Any]:
    """What makes two datasets the same: the options, the fingerprint of the sources, a tokenizer reused."""
    reused = Tokenizer.load(Path(config.tokenizer_from)).sha256 if config.tokenizer_from else None
    return {
        "options": config.model_dump(mode="json", exclude={"dir", "sources"}),
        "sources_sha256": fingerprint(sources),
        "reused_tokenizer_sha256": reused,
    }


def _difference(identity: Mapping[str, Any], folder: Path) -> str | None:
    if not (folder / METADATA).exists():
        return "it has not been prepared yet"
    try:
        found = read_dataset(folder).metadata
    except NimaError as error:
        return error.message.removeprefix(f"{folder}: ")
    was, wanted = found["options"], identity["options"]
    keys = [key for key in {**wanted, **was} if was.get(key) != wanted.get(key)]
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
            hint="pass `--overwrite` to replace it, or choose another `--output-dir`",
        )
    yield Note(
        "info", f"{folder} is already prepared from these sources with these options; pass `--overwrite` to redo"
    )
    yield _ready(folder, read_dataset(folder).metadata)


def _ready(folder: Path, metadata: Mapping[str, Any]) -> DatasetReady:
    splits = metadata["splits"].values()
    return DatasetReady(
        folder,
        documents=sum(split["documents"] for split in splits),
        samples=sum(split["samples"] for split in splits),
        tokens=sum(split["tokens"] for split in splits),
        vocab_size=metadata["tokenizer"]["vocab_size"],
    )


def _prepare(
    config: DataConfig, sources: Sequence[Source], identity: Mapping[str, Any], folder: Path, workers: int
) -> _Step:
    corpus = yield from read_corpus(config, sources)
    splits = split(corpus.documents, config)
    tokenizer = yield from _tokenizer(config, splits["train"])
    encoded = yield from _encode(splits, tokenizer, config.max_length, workers)
    with staged(folder, tokenizer, loss=config.loss) as writer:
        metadata = _metadata(config, identity, corpus, tokenizer)
        yield from _write(writer, encoded, metadata)
    yield from _closing_notes(config, metadata, encoded)
    yield _ready(folder, metadata)


def _tokenizer(config: DataConfig, train: Sequence[Document]) -> Generator[Event, None, Tokenizer]:
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
            size, characters = _vocab_size_for(train)
            yield Note("info", f"vocabulary of {size:,} tokens for {characters:,} characters to train on")
        texts = _tokenizer_sample(train)
        tokenizer = Tokenizer.train(texts, kind=config.tokenizer, vocab_size=size, exact=config.vocab_size is not None)
    yield Progress("tokenizer", 1, 1, "tokenizer")
    return tokenizer


def _vocab_size_for(train: Sequence[Document]) -> tuple[int, int]:
    """A multiple of 64 in proportion to the text, and the characters of the text."""
    characters = sum(document.characters for document in train)
    low, high = VOCAB_BOUNDS
    return min(max(characters // CHARACTERS_PER_TOKEN // 64 * 64, low), high), characters


def _tokenizer_sample(train: Sequence[Document]) -> Iterator[str]:
    """The first documents in shuffled order, as many as training needs."""
    left = TOKENIZER_SAMPLE_CHARACTERS
    for document in train:
        for text in (document.text, *(turn.content for turn in document.turns)):
            yield text[:left]
            left -= len(text)
            if left <= 0:
                return


def _encode(
    splits: Mapping[str, Sequence[Document]], tokenizer: Tokenizer, max_length: int, workers: int
) -> Generator[Event, None, dict[str, list[EncodedDocument]]]:
    total = sum(len(documents) for documents in splits.values())
    encoded: dict[str, list[EncodedDocument]] = {}
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            for name, documents in splits.items():
                results = encoded[name] = []
                for one in pool.map(lambda document: encode_document(document, tokenizer, max_length), documents):
                    results.append(one)
                    done += 1
                    if done % _PROGRESS_EVERY == 0 or done == total:
                        yield Progress("encode", done, total, "documents")
        finally:
            pool.shutdown(cancel_futures=True)
    return encoded


def _metadata(config: DataConfig, identity: Mapping[str, Any], corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    """The metadata but for what writing finds out: `splits`, `files` and `notes`."""
    exact = corpus.duplicates if config.dedupe == "exact" else None
    return {
        "format": FORMAT,
        "nima_version": __version__,
        **identity,
        "seed": config.seed,
        "loss": config.loss,
        "dtype": token_dtype(tokenizer.vocab_size).name,
        "tokenizer": {"type": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256},
        "splits": {},
        "sources": [_source_entry(report, corpus.kept[number]) for number, report in enumerate(corpus.reports)],
        "duplicates": {"exact": exact, "near": None},
        "cleaning": asdict(corpus.cleaning),
        "notes": [],
        "files": {},
    }


def _source_entry(report: SourceReport, kept: int) -> dict[str, Any]:
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


def _write(writer: DatasetWriter, encoded: Mapping[str, list[EncodedDocument]], metadata: dict[str, Any]) -> _Step:
    source_names = [source["name"] for source in metadata["sources"]]
    metadata["notes"] = writer.write_tokenizer()
    for number, (name, documents) in enumerate(encoded.items(), start=1):
        counts = writer.write_split(name, documents, source_names)
        metadata["splits"][name] = {**asdict(counts), "sha256": writer.hashes[f"{name}.bin"]}
        yield Progress("write", number, len(encoded), "splits")
    metadata["files"] = dict(sorted(writer.hashes.items()))
    writer.publish(metadata)


def _closing_notes(
    config: DataConfig, metadata: Mapping[str, Any], encoded: Mapping[str, list[EncodedDocument]]
) -> Iterator[Event]:
    for note in metadata["notes"]:
        yield Note("info", note)
    overlong = sum(one.overlong for documents in encoded.values() for one in documents)
    if overlong:
        yield Note("info", f"{overlong:,} exchanges are longer than {config.max_length} tokens and were kept whole")
    for name, counts in metadata["splits"].items():
        if counts["tokens"] < config.max_length:
            yield Note("warning", f"the {name} split has only {counts['tokens']:,} tokens; give more documents")
