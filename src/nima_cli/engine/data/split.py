"""Divides documents into train, val and test, clusters whole, by hashes of their content."""

import numpy as np
import numpy.typing as npt

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.store.dataset_files import SPLITS
from nima_cli.errors import DataError

Numbers = npt.NDArray[np.int64]


def split(
    order: npt.NDArray[np.uint64],
    clusters: Numbers,
    kept: Numbers,
    config: DataConfig,
    assigned: npt.NDArray[np.int8] | None = None,
) -> dict[str, Numbers]:
    """Shuffle by hashes of the content, then cut between clusters; every split gets at least one.

    Hashes instead of a random generator make a document's place independent of the order of the sources.

    Args:
        order: uint64 [n, 2], the keyed hash of each document.
        clusters: int64 [n], equal for documents that must stay together.
        kept: the documents to divide.
        assigned: int8 [n], the split of a document whose place is settled, as an index, else -1. Where every split has
            such a one, and the others are too few to divide, all of them are for training.

    Returns:
        The numbers of the documents of each split, shuffled.

    Raises:
        DataError: there are fewer than three clusters.
    """
    settled = np.full(len(kept), -1) if assigned is None else assigned[kept]
    free = kept[settled < 0]
    if len(free) == len(kept):
        return _divide(order, clusters, kept, config)
    enough = len(np.unique(clusters[free])) >= len(SPLITS)
    parts = _divide(order, clusters, free, config) if enough else {"train": free}
    for index, name in enumerate(SPLITS):
        own = kept[settled == index]
        own = own[np.lexsort((order[own, 1], order[own, 0]))]
        parts[name] = np.concatenate([own, parts.get(name, own[:0])])
    return parts


def _divide(order: npt.NDArray[np.uint64], clusters: Numbers, kept: Numbers, config: DataConfig) -> dict[str, Numbers]:
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
    shuffled, sorted_groups = kept[rank], groups[rank]
    bounds = np.flatnonzero(sorted_groups[1:] != sorted_groups[:-1]) + 1
    first, second = _cuts(bounds, len(kept), config)
    parts = (shuffled[:first], shuffled[first:second], shuffled[second:])
    return dict(zip(SPLITS, parts, strict=True))


def _cuts(bounds: Numbers, total: int, config: DataConfig) -> tuple[int, int]:
    """The two boundaries between clusters that come nearest to the ratios."""
    val = max(1, round(total * config.val_ratio))
    test = max(1, round(total * (1 - config.train_ratio - config.val_ratio)))
    train = max(1, total - val - test)
    val = min(val, total - train - 1)
    first = int(np.abs(bounds[:-1] - train).argmin())
    second = first + 1 + int(np.abs(bounds[first + 1 :] - (train + val)).argmin())
    return int(bounds[first]), int(bounds[second])
