"""Cuts a document that is a corpus by itself into contiguous parts for train, val and test.

Documents are split whole, because neighbours in one document say related things. A file that holds more text than a
whole held-out split cannot be: a novel, a log of messages, a site in one file. It is cut where its own structure allows
it, and the text between two parts is left out, so that no sentence and no paragraph stands on both sides.
"""

from collections.abc import Generator
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.corpus import Corpus
from nima_cli.engine.data.document import KINDS, Document
from nima_cli.engine.data.store.dataset_files import SPLITS
from nima_cli.engine.data.store.document_store import DocumentStore
from nima_cli.engine.data.tokenizer.chunk import BLOCK, HEADING, LINE, boundary_ranks
from nima_cli.events import Event, Note

# With fewer documents than splits, one of so many characters is cut; else one that is also large for a file.
FEW_CHARACTERS = 2**13
LARGE_CHARACTERS = 2**17
# A gap is about a sample long, and at most this share of the document.
CHARACTERS_PER_TOKEN = 4
GAP_SHARE = 0.01
# A seam may lie so far from where the ratios want it, as a share of the document.
SEARCH_SHARE = 0.01

_PROSE = [KINDS.index("text"), KINDS.index("markdown")]

Numbers = npt.NDArray[np.int64]


def cut_large_documents(
    config: DataConfig, corpus: Corpus, store: DocumentStore
) -> Generator[Event, None, list[dict[str, Any]]]:
    """Put a part for every split in the place of each document that is a corpus by itself; says which.

    Returns:
        The `contiguous` of the metadata: for each, the `characters` of each part, and how many are `left_out`.
    """
    numbers = _too_large_to_split(config, corpus)
    total = int(corpus.table["characters"][corpus.kept].sum(dtype=np.int64))
    cut: list[dict[str, Any]] = []
    for number in numbers.tolist():
        (document,) = corpus.documents(np.array([number]))
        parts = contiguous_parts(document, config)
        with store.reopened():
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
    """A part of the document for each split, in the order of the text and of `SPLITS`.

    Seams are headings where one is near, else blank lines, line ends, white space. Between two parts once to twice as
    much as a sample holds is left out. A part knows its first line.
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
