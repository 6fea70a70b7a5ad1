"""Divides documents, and any document that is a corpus by itself, into train, val and test."""

from collections.abc import Generator
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.corpus import Corpus, Numbers
from nima_cli.engine.data.document import KINDS, Document
from nima_cli.engine.data.store.dataset_files import SPLITS
from nima_cli.engine.data.store.document_store import DocumentStore
from nima_cli.engine.data.tokenizer.chunk import BLOCK, HEADING, LINE, boundary_ranks
from nima_cli.errors import DataError
from nima_cli.events import Event, Note

# With fewer documents than splits, one of so many characters is cut; else one that is also large for a file.
FEW_CHARACTERS = 2**13
LARGE_CHARACTERS = 2**17
# A gap is about a sample long, and at most this share of the document.
CHARACTERS_PER_TOKEN = 4
GAP_SHARE = 0.01
# A seam may lie so far from where the ratios want it, as a share of the document.
SEARCH_SHARE = 0.01

Splits = dict[str, Numbers]

_PROSE = [KINDS.index("text"), KINDS.index("markdown")]


def split(
    order: npt.NDArray[np.uint64],
    clusters: Numbers,
    kept: Numbers,
    config: DataConfig,
    assigned: npt.NDArray[np.int8] | None = None,
) -> Splits:
    """Shuffle documents by hashes of their content, then cut between clusters; every split gets at least one cluster.

    Hashes instead of a random generator make a document's place independent of the order of the sources.

    Args:
        order: [n, 2], the keyed hash of each document.
        clusters: [n], equal for documents that must stay together.
        kept: the documents to divide.
        assigned: [n], the split of a document whose place is settled, as an index, else -1. If some are settled and the
            others are too few to divide, the others are for training.

    Raises:
        DataError: there are fewer than three clusters.
    """
    settled = np.full(len(kept), -1) if assigned is None else assigned[kept]
    free = kept[settled < 0]
    few = len(free) < len(kept) and len(np.unique(clusters[free])) < len(SPLITS)
    parts = {"train": free} if few else _divide(order, clusters, free, config)
    for index, name in enumerate(SPLITS):
        own = kept[settled == index]
        own = own[np.lexsort((order[own, 1], order[own, 0]))]
        parts[name] = np.concatenate([own, parts.get(name, own[:0])])
    return parts


def _divide(order: npt.NDArray[np.uint64], clusters: Numbers, kept: Numbers, config: DataConfig) -> Splits:
    own, groups = order[kept], clusters[kept]
    names, place = np.unique(groups, return_inverse=True)
    if len(names) < len(SPLITS):
        raise DataError(
            f"{len(kept)} documents are nearly the same, and train, val and test need different ones",
            hint="give more documents, or keep them all with `dedupe=exact`",
        )
    # The hashes of a cluster combined: no matter in which order, and not smaller for being many.
    joint = np.zeros((len(names), 2), dtype=np.uint64)
    np.bitwise_xor.at(joint, place, own)
    rank = np.lexsort((kept, own[:, 1], own[:, 0], groups, joint[place, 1], joint[place, 0]))
    bounds = np.flatnonzero(np.diff(groups[rank])) + 1

    # The two boundaries between clusters that come nearest to the ratios.
    total = len(kept)
    val = max(1, round(total * config.val_ratio))
    test = max(1, round(total * (1 - config.train_ratio - config.val_ratio)))
    train = max(1, total - val - test)
    val = min(val, total - train - 1)
    first = int(np.abs(bounds[:-1] - train).argmin())
    second = first + 1 + int(np.abs(bounds[first + 1 :] - (train + val)).argmin())
    return dict(zip(SPLITS, np.split(kept[rank], bounds[[first, second]]), strict=True))


def cut_large_documents(
    config: DataConfig, corpus: Corpus, store: DocumentStore
) -> Generator[Event, None, list[dict[str, Any]]]:
    """Cut each document that is a corpus by itself, such as a novel, into a part for every split.

    Returns:
        The `contiguous` of the metadata: for each, the `characters` of each part, and how many are `left_out`.
    """
    numbers = _too_large_to_split(config, corpus)
    total = int(corpus.table["characters"][corpus.kept].sum(dtype=np.int64))
    cut: list[dict[str, Any]] = []
    for number in numbers.tolist():
        (document,) = corpus.documents(np.array([number]))
        parts = contiguous_parts(document, config)
        corpus.replace(number, parts, store, config.seed)
        sizes = {name: part.characters for name, part in zip(SPLITS, parts, strict=True)}
        left_out = document.characters - sum(sizes.values())
        source = corpus.reports[document.source].name
        cut.append({"source": source, "where": document.where, "characters": sizes, "left_out": left_out})
        yield Note(
            "info",
            f"{document.where} holds {document.characters / total:.0%} of the text: cut into contiguous parts for "
            f"{', '.join(SPLITS)}; {left_out:,} characters between them are left out",
        )
    return cut


def _too_large_to_split(config: DataConfig, corpus: Corpus) -> Numbers:
    """Prose that is alike to nothing else and larger than the smaller held-out split would be."""
    kept = corpus.numbers()
    names, place, sizes = np.unique(corpus.clusters[kept], return_inverse=True, return_counts=True)
    characters = corpus.table["characters"][kept].astype(np.int64)
    share = min(config.val_ratio, 1 - config.train_ratio - config.val_ratio)
    few = len(names) < len(SPLITS)
    least = FEW_CHARACTERS if few else max(LARGE_CHARACTERS, share * characters.sum())
    prose = np.isin(corpus.table["kind"][kept], _PROSE)
    large: Numbers = kept[prose & (sizes[place] == 1) & (characters >= least)]
    return large


def contiguous_parts(document: Document, config: DataConfig) -> list[Document]:
    """A part of the document for each of `SPLITS`, in the order of the text.

    Seams are headings where one is near, else blank lines, line ends, white space. Between two parts, one to two
    samples of text are left out, so that no paragraph stands on both sides.
    """
    text, length = document.text, len(document.text)
    ranks = np.array(boundary_ranks(text, document.kind), dtype=np.int8)
    offsets = np.array([0, *accumulate(len(line) + 1 for line in text.split("\n"))][:-1], dtype=np.int64)

    def seam(target: int, reach: int) -> int:
        """The best place to cut at most `reach` characters from `target`; among equals the nearest."""
        first, last = np.searchsorted(offsets, (target - reach, target + reach + 1))
        for worst in (HEADING, BLOCK, LINE):
            near = offsets[first:last][ranks[first:last] <= worst]
            if len(near):
                return int(near[np.abs(near - target).argmin()])
        space = text.rfind(" ", target - reach, target + 1)
        return space + 1 if space >= 0 else target

    def part(start: int, end: int) -> Document:
        said = text[start:end]
        line = int(np.searchsorted(offsets, start + len(said) - len(said.lstrip("\n")), side="right"))
        where = document.where if start == 0 else f"{document.where} (from line {line} of its text)"
        return replace(document, text=said.strip("\n"), where=where)

    gap = min(config.max_length * CHARACTERS_PER_TOKEN, int(length * GAP_SHARE))
    shares = config.train_ratio, config.train_ratio + config.val_ratio
    ends = [seam(int(length * share) - gap // 2, int(length * SEARCH_SHARE)) for share in shares]
    starts = [seam(end + gap + gap // 2, gap // 2) for end in ends]
    return [part(start, end) for start, end in zip([0, *starts], [*ends, length], strict=True)]
