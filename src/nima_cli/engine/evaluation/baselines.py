"""Simple predictors on the text that the model was measured on, so that its figure means something; knows no model.

The two that predict tokens are charged for exactly the tokens that the model is, ends of documents included. The two
compressors get the bytes of those tokens as one text, and pay for no boundary.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.engine.evaluation.compressors import xz_bytes, zstd_with_dictionary
from nima_cli.engine.evaluation.groups import DIMENSIONS, Groups, document_bounds
from nima_cli.engine.evaluation.metric_sums import Tally
from nima_cli.engine.evaluation.ngrams import NgramModel, unigram_nats
from nima_cli.events import Progress

MAX_TRAIN_TOKENS = 20_000_000  # of which 5-grams are counted: 85 MB of memory a million
_MAX_DICTIONARY_TEXT = 12_000_000
_ORDER = 5

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one simple predictor needs.

    Attributes:
        note: how it was trained, or why it could not be.
        bits_per_byte: over the split; None where it could not be measured.
        by: the same for the names of each dimension, as far as it can be told.
    """

    name: str
    note: str
    bits_per_byte: float | None = None
    by: dict[str, dict[str, float]] = field(default_factory=dict)


def measure_baselines(
    train: SplitArrays, arrays: SplitArrays, groups: Groups, tokenizer: Tokenizer
) -> Generator[Progress, None, list[Baseline]]:
    """Train on the train split and measure on another: unigram, 5-gram, xz and zstd, in this order."""
    targets_P = target_places(arrays, tokenizer.bos_id)
    yield Progress("baselines: unigram", 0, 4, "")
    seen_N, places_N, note = _training_tokens(train)
    bytes_V = tokenizer.byte_lengths()
    whole = np.asarray(arrays.tokens).astype(np.int64)

    def token_baseline(name: str, note: str, nats_P: npt.NDArray[np.float64]) -> Baseline:
        tally = Tally(groups.count)
        tally.add(groups.codes_P[targets_P], nats_P[targets_P], bytes_V[whole[targets_P]])
        rows = {one: groups.rows(one, tally) for one in DIMENSIONS}
        by = {one: {key: row.bits_per_byte for key, row in found.items() if row.bytes} for one, found in rows.items()}
        return Baseline(name, note, tally.total().bits_per_byte, by)

    size = tokenizer.vocab_size
    found = [
        token_baseline("unigram", note, unigram_nats(seen_N, whole, vocab_size=size, boundary=tokenizer.bos_id)),
    ]
    yield Progress("baselines: 5-gram", 1, 4, "")
    ngrams = NgramModel(seen_N, places_N, vocab_size=size, order=_ORDER)
    name = f"{_ORDER}-gram"
    found.append(token_baseline(name, f"modified Kneser-Ney, {note}", ngrams.nats(whole, _count_up(arrays.lengths()))))
    del ngrams
    text_of = _texts(arrays, targets_P, groups, tokenizer)
    yield Progress("baselines: xz", 2, 4, "")
    found.append(_compressor("xz", "xz -9e on the text alone", xz_bytes, text_of, groups))
    yield Progress("baselines: zstd", 3, 4, "")
    zstd = zstd_with_dictionary(_dictionary_samples(train, tokenizer))
    note = "zstd -19, dictionary from the train split"
    found.append(Baseline("zstd", zstd) if isinstance(zstd, str) else _compressor("zstd", note, zstd, text_of, groups))
    return found


def target_places(arrays: SplitArrays, bos_id: int) -> _Ints:
    """Where in the token file the tokens that carry loss are; the first token of all is never predicted."""
    carries = arrays.tokens != bos_id if arrays.mask is None else arrays.mask != 0
    places: _Ints = np.flatnonzero(carries)
    return places[places > 0]


def _count_up(lengths_S: _Ints) -> _Ints:
    """For every token of samples that follow each other, how many tokens of its sample stand before it."""
    ends_S = np.cumsum(lengths_S)
    return np.arange(int(ends_S[-1])) - np.repeat(ends_S - lengths_S, lengths_S)


def _training_tokens(train: SplitArrays) -> tuple[npt.NDArray[Any], _Ints, str]:
    """Tokens to count, the place of each in its sample, and a word on how many they are."""
    lengths_S, total = train.lengths(), len(train.tokens)
    if total <= MAX_TRAIN_TOKENS:
        return np.asarray(train.tokens), _count_up(lengths_S), f"counted on {total:,} training tokens"
    share = MAX_TRAIN_TOKENS / total
    chosen_S = np.diff(np.floor(np.arange(len(lengths_S) + 1) * share)) > 0  # spread evenly over the split
    tokens_N = train.tokens[np.repeat(chosen_S, lengths_S)]
    return tokens_N, _count_up(lengths_S[chosen_S]), f"counted on {len(tokens_N):,} of {total:,} training tokens"


def _texts(
    arrays: SplitArrays, targets_P: _Ints, groups: Groups, tokenizer: Tokenizer
) -> Callable[[int | None], bytes]:
    """A function that gives the text of a source's targets by its number, or of all."""
    sources_P = groups.coarse("source")[groups.codes_P[targets_P]]

    def text_of(source: int | None) -> bytes:
        chosen_P = targets_P if source is None else targets_P[sources_P == source]
        return b"".join(map(tokenizer.token_bytes, arrays.tokens[chosen_P].tolist()))

    return text_of


def _compressor(
    name: str, note: str, compress: Callable[[bytes], int], text_of: Callable[[int | None], bytes], groups: Groups
) -> Baseline:
    def bits_per_byte(source: int | None) -> float | None:
        text = text_of(source)
        return 8 * compress(text) / len(text) if text else None

    found = {one: bits_per_byte(number) for number, one in enumerate(groups.names["source"])}
    by_source = {one: bits for one, bits in found.items() if bits is not None}
    return Baseline(name, note, bits_per_byte(None), {"source": by_source})


def _dictionary_samples(train: SplitArrays, tokenizer: Tokenizer) -> list[bytes]:
    """Whole documents spread evenly over the train split, as many as a dictionary can learn from."""
    bounds = document_bounds(train)
    step = max(1, round(len(train.tokens) * 3 / _MAX_DICTIONARY_TEXT))  # a token is about three bytes
    return [b"".join(map(tokenizer.token_bytes, train.tokens[start:end].tolist())) for start, end in bounds[::step]]
