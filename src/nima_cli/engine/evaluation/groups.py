"""The source and the kind of text of every token of a split, and sums over these groups.

Axis letters: P places in the token file, N tokens, S sources, K kinds
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.document import KINDS, Kind
from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.evaluation.kinds import CHATS, PROSE, QUESTIONS, line_kinds
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.events import Progress

_Array = npt.NDArray[Any]
DIMENSIONS = ("source", "kind")
# Losses are added as integers of this precision, so that groups add up to their total in any order and batches.
_PARTS_PER_NAT = 2**24


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of every token of a split.

    Attributes:
        codes_P: number of the source times the number of kinds, plus number of the kind.
        names: dimension -> names by number.
    """

    codes_P: npt.NDArray[np.int32]
    names: dict[str, tuple[str, ...]]


class MetricSums:
    """Sums of loss, tokens, right predictions and bytes per group."""

    def __init__(self, groups: Groups) -> None:
        self._names = groups.names
        shape = (4, len(groups.names["source"]), len(groups.names["kind"]))
        self._sums_4SK: npt.NDArray[np.int64] = np.zeros(shape, dtype=np.int64)

    def add(self, codes_N: _Array, loss_N: _Array, bytes_N: _Array, correct_N: _Array | None = None) -> None:
        """Add tokens: the group, finite loss in nats, bytes and right prediction of each."""
        parts_N = np.rint(loss_N.astype(np.float64) * _PARTS_PER_NAT).astype(np.int64)
        for sums_SK, values_N in zip(self._sums_4SK, (parts_N, 1, correct_N, bytes_N), strict=True):
            if values_N is not None:
                np.add.at(sums_SK.ravel(), codes_N, values_N)

    def total(self) -> Metrics:
        """The figures of the whole split."""
        return _metrics(self._sums_4SK.sum(axis=(1, 2)))

    def rows(self, dimension: str) -> dict[str, Metrics]:
        """The figures along one dimension by name, most bytes first."""
        sums = self._sums_4SK.sum(axis=2 if dimension == "source" else 1).T
        found = {name: _metrics(row) for name, row in zip(self._names[dimension], sums, strict=True) if row[1]}
        return dict(sorted(found.items(), key=lambda item: (-item[1].bytes, item[0])))


def _metrics(sums_4: npt.NDArray[np.int64]) -> Metrics:
    parts, tokens, correct, text_bytes = sums_4.tolist()
    return Metrics(parts / _PARTS_PER_NAT, tokens, correct, text_bytes)


def find_groups(
    arrays: SplitArrays, tokenizer: Tokenizer, sources: tuple[str, ...], *, kinds: bool
) -> Generator[Progress, None, Groups]:
    """Find the group of every token; sources of one name are one, and without `kinds` all text is one kind."""
    names = tuple(dict.fromkeys(sources))
    number_of = np.array([names.index(name) for name in sources], dtype=np.int32)
    source_P = np.repeat(number_of[arrays.index["source"]], arrays.lengths())
    if not kinds:
        return Groups(source_P, {"source": names, "kind": (PROSE,)})
    kind_P = np.zeros(len(arrays.tokens), dtype=np.int32)
    numbers: dict[str, int] = {PROSE: 0}
    bounds = document_bounds(arrays)
    for done, (start, end, kind) in enumerate(bounds):
        if done % 64 == 0:
            yield Progress("reading what the text is", done, len(bounds), "documents")
        if kind in ("qa", "chat"):
            kind_P[start:end] = numbers.setdefault(QUESTIONS if kind == "qa" else CHATS, len(numbers))
            continue
        pieces = [tokenizer.token_bytes(token) for token in arrays.tokens[start:end].tolist()]
        text = b"".join(pieces)
        found = line_kinds(text.decode("utf-8", errors="replace"), kind)
        kind_L = np.array([numbers.setdefault(name, len(numbers)) for name in found], dtype=np.int32)
        kind_P[start:end] = kind_L[_line_of_each(pieces, text)]
    codes_P = source_P * len(numbers) + kind_P
    return Groups(codes_P, {"source": names, "kind": tuple(numbers)})


def document_bounds(arrays: SplitArrays) -> list[tuple[int, int, Kind]]:
    """(start, end, kind) of each document in the token file, all its samples together."""
    first_S = np.flatnonzero(np.diff(arrays.index["document"].astype(np.int64), prepend=-1))
    starts = arrays.index["offset"][first_S].astype(int).tolist()
    kinds = [KINDS[kind] for kind in arrays.index["kind"][first_S]]
    return list(zip(starts, [*starts[1:], len(arrays.tokens)], kinds, strict=True))


def _line_of_each(pieces: list[bytes], text: bytes) -> npt.NDArray[np.int64]:
    """The line on which each token begins."""
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    starts = np.minimum(np.cumsum(lengths) - lengths, max(0, len(text) - 1))
    line_ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
    line_of_each: npt.NDArray[np.int64] = np.searchsorted(line_ends, starts, side="left")
    return line_of_each
