"""Shows a prepared dataset as JSON: lengths of samples, the mix of sources, and samples as the model sees them."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.store.dataset_files import DatasetFiles
from nima_cli.engine.data.tokenizer.protocol import Tokenizer


def length_histogram(files: DatasetFiles) -> list[dict[str, Any]]:
    """How many samples have `from` to `to` tokens, by powers of two, over all splits."""
    lengths = np.concatenate([files.arrays(split).lengths() for split in files.metadata["splits"]])
    powers = np.floor(np.log2(np.maximum(lengths, 1))).astype(int)
    return [
        {"from": 2**power, "to": 2 ** (power + 1) - 1, "samples": int((powers == power).sum())}
        for power in range(powers.min(), powers.max() + 1)
    ]


def source_mix(files: DatasetFiles) -> list[dict[str, Any]]:
    """The `share` of each source of the tokens in the train split, and of those in an epoch, by its weight."""
    arrays, sources = files.arrays("train"), files.metadata["sources"]
    tokens = np.bincount(arrays.index["source"], weights=arrays.lengths(), minlength=len(sources))
    drawn = tokens * np.array([source["weight"] for source in sources])
    return [
        {
            "source": source["name"],
            "weight": source["weight"],
            "tokens": int(count),
            "share": float(count / tokens.sum()),
            "epoch_share": float(part / drawn.sum()),
        }
        for source, count, part in zip(sources, tokens, drawn, strict=True)
    ]


def view_samples(files: DatasetFiles, count: int, *, split: str = "train") -> Iterator[dict[str, Any]]:
    """Up to `count` samples, evenly spread over a split, each cut into segments of text or of special symbols."""
    arrays, bos = files.arrays(split), files.tokenizer.bos_id
    index, lengths = arrays.index, arrays.lengths()
    for number in np.unique(np.linspace(0, len(index) - 1, num=min(count, len(index)), dtype=np.int64)).tolist():
        start = int(index["offset"][number])
        end = start + int(lengths[number])
        ids = arrays.tokens[start:end].tolist()
        mask = [token != bos for token in ids] if arrays.mask is None else arrays.mask[start:end].astype(bool).tolist()
        yield {
            "split": split,
            "number": number,
            "source": files.metadata["sources"][int(index["source"][number])]["name"],
            "kind": KINDS[int(index["kind"][number])],
            "tokens": len(ids),
            "loss_tokens": sum(mask),
            "segments": list(_segments(ids, mask, files.tokenizer)),
        }


def _segments(ids: list[int], mask: list[bool], tokenizer: Tokenizer) -> Iterator[dict[str, Any]]:
    specials = tokenizer.special_ids
    marked = zip(ids, mask, strict=True)
    for (special, loss), run in groupby(marked, key=lambda pair: (pair[0] in specials, pair[1])):
        tokens = [token for token, _ in run]
        text = "".join(map(tokenizer.piece, tokens)) if special else tokenizer.decode(tokens)
        yield {"text": text, "special": special, "carries_loss": loss}
