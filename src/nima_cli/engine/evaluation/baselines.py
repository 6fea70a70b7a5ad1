"""Simple predictors on the text that the model was measured on.

Unigram and 5-gram predict the same tokens as the model, ends of documents included. The compressors get the bytes of
these tokens as one text without boundaries, and write raw streams where they can.
"""

import importlib
import lzma
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.evaluation.groups import DIMENSIONS, Groups, MetricSums, document_bounds
from nima_cli.engine.evaluation.ngrams import NgramModel, unigram_losses
from nima_cli.events import Progress

MAX_TRAIN_TOKENS = 20_000_000  # 5-grams need 85 MB of memory per million tokens
_MAX_DICTIONARY_TEXT = 12_000_000
_DICTIONARY_BYTES = 112_640  # what the zstd command line trains
_ZSTD_LEVEL = 19
_ORDER = 5

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The result of one predictor.

    Attributes:
        note: how it was trained, or why it could not be.
        bits_per_byte: over the split; None if not measured.
        by: dimension -> name -> bits per byte.
    """

    name: str
    note: str
    bits_per_byte: float | None = None
    by: dict[str, dict[str, float]] = field(default_factory=dict)


def measure_baselines(
    train: SplitArrays, arrays: SplitArrays, groups: Groups, tokenizer: Tokenizer
) -> Generator[Progress, None, list[Baseline]]:
    """Train unigram, 5-gram, xz and zstd on the train split and measure them on another."""
    targets_P = _target_places(arrays, tokenizer.bos_id)
    tokens_P = np.asarray(arrays.tokens).astype(np.int64)
    codes_N, bytes_N = groups.codes_P[targets_P], tokenizer.byte_lengths()[tokens_P[targets_P]]

    def token_baseline(name: str, note: str, loss_P: npt.NDArray[np.float64]) -> Baseline:
        sums = MetricSums(groups)
        sums.add(codes_N, loss_P[targets_P], bytes_N)
        rows = {dimension: sums.rows(dimension) for dimension in DIMENSIONS}
        by = {one: {key: row.bits_per_byte for key, row in found.items() if row.bytes} for one, found in rows.items()}
        return Baseline(name, note, sums.total().bits_per_byte, by)

    def compressor(name: str, note: str, compress: Callable[[bytes], int]) -> Baseline:
        def bits_per_byte(chosen_P: _Ints) -> float | None:
            text = b"".join(map(tokenizer.token_bytes, tokens_P[chosen_P].tolist()))
            return 8 * compress(text) / len(text) if text else None

        sources_N = codes_N // len(groups.names["kind"])
        found = ((one, bits_per_byte(targets_P[sources_N == at])) for at, one in enumerate(groups.names["source"]))
        by_source = {one: bits for one, bits in found if bits is not None}
        return Baseline(name, note, bits_per_byte(targets_P), {"source": by_source})

    yield Progress("baselines: unigram", 0, 4, "")
    seen_N, places_N, note = _training_tokens(train)
    size = tokenizer.vocab_size
    loss_P = unigram_losses(seen_N[places_N > 0], tokens_P, vocab_size=size)
    found = [token_baseline("unigram", note, loss_P)]
    yield Progress("baselines: 5-gram", 1, 4, "")
    loss_P = NgramModel(seen_N, places_N, vocab_size=size, order=_ORDER).losses(tokens_P, _count_up(arrays.lengths()))
    found.append(token_baseline(f"{_ORDER}-gram", f"modified Kneser-Ney, {note}", loss_P))
    yield Progress("baselines: xz", 2, 4, "")
    found.append(compressor("xz", "xz -9e on the text alone", xz_bytes))
    yield Progress("baselines: zstd", 3, 4, "")
    zstd = zstd_with_dictionary(_dictionary_samples(train, tokenizer))
    note = "zstd -19, dictionary from the train split"
    found.append(Baseline("zstd", zstd) if isinstance(zstd, str) else compressor("zstd", note, zstd))
    return found


def _target_places(arrays: SplitArrays, bos_id: int) -> _Ints:
    """Places of the tokens that carry loss; the first token of the file is never predicted."""
    carries = arrays.tokens != bos_id if arrays.mask is None else arrays.mask != 0
    places: _Ints = np.flatnonzero(carries)
    return places[places > 0]


def _count_up(lengths_S: _Ints) -> _Ints:
    """The place of every token in its sample, from the samples' lengths."""
    ends_S = np.cumsum(lengths_S)
    return np.arange(int(ends_S[-1])) - np.repeat(ends_S - lengths_S, lengths_S)


def _training_tokens(train: SplitArrays) -> tuple[npt.NDArray[Any], _Ints, str]:
    """Tokens to count, their places in their samples, and a note on how many they are."""
    lengths_S, total = train.lengths(), len(train.tokens)
    if total <= MAX_TRAIN_TOKENS:
        return np.asarray(train.tokens), _count_up(lengths_S), f"counted on {total:,} training tokens"
    share = MAX_TRAIN_TOKENS / total
    chosen_S = np.diff(np.floor(np.arange(len(lengths_S) + 1) * share)) > 0  # spread evenly over the split
    tokens_N = train.tokens[np.repeat(chosen_S, lengths_S)]
    return tokens_N, _count_up(lengths_S[chosen_S]), f"counted on {len(tokens_N):,} of {total:,} training tokens"


def _dictionary_samples(train: SplitArrays, tokenizer: Tokenizer) -> list[bytes]:
    """Documents spread evenly over the train split, as many as a dictionary can learn from."""
    bounds = document_bounds(train)
    step = max(1, round(len(train.tokens) * 3 / _MAX_DICTIONARY_TEXT))  # a token is about three bytes
    return [b"".join(map(tokenizer.token_bytes, train.tokens[start:end].tolist())) for start, end, _ in bounds[::step]]


def xz_bytes(data: bytes) -> int:
    """Bytes of `xz -9e` without its container (LZMA2)."""
    window = max(4096, min(len(data), 2**26))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))


def zstd_with_dictionary(samples: Sequence[bytes]) -> Callable[[bytes], int] | str:
    """A function that counts the bytes of `zstd -19` with a dictionary from `samples`, or why there is none."""
    size = min(_DICTIONARY_BYTES, sum(map(len, samples)) // 10)
    for module in ("compression.zstd", "zstandard"):  # Python's own, from 3.14 on, or the package
        try:
            zstd = importlib.import_module(module)
            break
        except ImportError:
            continue
    else:
        return "zstandard is not installed: pip install zstandard"
    try:
        if module == "compression.zstd":
            dictionary = zstd.train_dict(samples, size)
            return lambda data: len(zstd.compress(data, level=_ZSTD_LEVEL, zstd_dict=dictionary))
        dictionary = zstd.train_dictionary(size, list(samples), level=_ZSTD_LEVEL)
    except (zstd.ZstdError, ValueError, SystemError):
        return "too little training text for a dictionary"
    parameters = {"write_checksum": False, "write_dict_id": False, "write_content_size": False}
    compressor = zstd.ZstdCompressor(level=_ZSTD_LEVEL, dict_data=dictionary, **parameters)
    return lambda data: len(compressor.compress(data))
