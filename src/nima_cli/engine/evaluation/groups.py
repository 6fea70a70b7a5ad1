"""Which source and which kind of text every token of a split belongs to; knows no model."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.engine.evaluation.kinds import CHATS, PROSE, QUESTIONS, line_kinds
from nima_cli.engine.evaluation.metric_sums import Tally
from nima_cli.engine.training.evaluator import Metrics
from nima_cli.events import Progress

DIMENSIONS = ("source", "kind")


@dataclass(frozen=True, slots=True)
class Groups:
    """Every token of a split in one group; axis letters: P places in the token file, G groups.

    Attributes:
        codes_P: the group of each token: its source's number times the number of kinds, plus its kind's.
        names: for each dimension, the names that its numbers stand for.
    """

    codes_P: npt.NDArray[np.int32]
    names: dict[str, tuple[str, ...]]

    @property
    def count(self) -> int:
        """Groups there could be."""
        return len(self.names["source"]) * len(self.names["kind"])

    def coarse(self, dimension: str) -> npt.NDArray[np.int64]:
        """For each group, its number along one dimension."""
        kinds = len(self.names["kind"])
        codes_G = np.arange(self.count)
        return codes_G // kinds if dimension == "source" else codes_G % kinds

    def rows(self, dimension: str, tally: Tally) -> dict[str, Metrics]:
        """The figures along one dimension by name, most bytes first."""
        names = self.names[dimension]
        found = tally.merged(self.coarse(dimension), len(names))
        return {names[group]: found[group] for group in sorted(found, key=lambda one: (-found[one].bytes, names[one]))}


def find_groups(
    arrays: SplitArrays, tokenizer: Tokenizer, sources: tuple[str, ...], *, kinds: bool
) -> Generator[Progress, None, Groups]:
    """Attribute every token of a split.

    Args:
        sources: names by number; sources of one name are one.
        kinds: whether to look into the text; without it, all of it is one kind.
    """
    names = tuple(dict.fromkeys(sources))
    number_of = np.array([names.index(name) for name in sources], dtype=np.int32)
    source_P = np.repeat(number_of[arrays.index["source"]], arrays.lengths())
    if not kinds:
        return Groups(source_P, {"source": names, "kind": (PROSE,)})
    kind_P = np.zeros(len(arrays.tokens), dtype=np.int32)
    numbers: dict[str, int] = {PROSE: 0}
    bounds = document_bounds(arrays)
    for done, (start, end) in enumerate(bounds):
        if done % 64 == 0:
            yield Progress("reading what the text is", done, len(bounds), "documents")
        kind = KINDS[arrays.index["kind"][np.searchsorted(arrays.index["offset"], start, side="right") - 1]]
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


def document_bounds(arrays: SplitArrays) -> list[tuple[int, int]]:
    """Where in the token file each document begins and ends, all its samples together."""
    first_S = np.flatnonzero(np.diff(arrays.index["document"].astype(np.int64), prepend=-1))
    starts = arrays.index["offset"][first_S].astype(int).tolist()
    return list(zip(starts, [*starts[1:], len(arrays.tokens)], strict=True))


def _line_of_each(pieces: list[bytes], text: bytes) -> npt.NDArray[np.int64]:
    """The line that each token begins on; a token without text belongs to where it stands."""
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    starts = np.minimum(np.cumsum(lengths) - lengths, max(0, len(text) - 1))
    line_ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
    line_of_each: npt.NDArray[np.int64] = np.searchsorted(line_ends, starts, side="left")
    return line_of_each
