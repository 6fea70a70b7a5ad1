"""Keeps MinHash signatures in files while a dataset is made, so that memory does not grow with them.

There is a file for each band, because candidates are looked for band by band, and one for the minima. No file stays
open.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.dedup.near_duplicates import ALIKE, BANDS, ROWS, Signatures
from nima_cli.files import explain

# An estimate from one byte of 125 minima has a standard error of at most 0.045.
_WORTH_COMPARING = ALIKE - 0.15
_BLOCK = 2048
# Signatures that wait in memory, so that the files are opened now and then only.
_HELD = 2**14

Numbers = npt.NDArray[np.int64]


class MinHashStore:
    """Signatures that are written one after the other, and can be searched at any time.

    Raises:
        ResourceError: the disk refused.
    """

    def __init__(self, folder: Path) -> None:
        """Create the files, empty: a killed process of the same number may have left some."""
        self._held: list[Signatures] = []
        self._waiting = 0
        self._folder = folder
        self._minima = folder / "minima"
        self._bands = [folder / f"band-{number}" for number in range(BANDS)]
        try:
            folder.mkdir(exist_ok=True)
            for path in (self._minima, *self._bands):
                path.write_bytes(b"")
        except OSError as error:
            raise explain(error, folder, "write") from error

    def append(self, signatures: Signatures) -> None:
        """Add signatures."""
        self._held.append(signatures)
        self._waiting += len(signatures.minima)
        if self._waiting >= _HELD:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        minima = np.concatenate([one.minima for one in self._held])
        bands = np.concatenate([one.bands for one in self._held]).astype("<u4")
        self._held, self._waiting = [], 0
        try:
            for path, column in zip((self._minima, *self._bands), (minima, *bands.T), strict=True):
                with path.open("ab") as stream:
                    stream.write(column.tobytes())
        except OSError as error:
            raise explain(error, self._folder, "write") from error

    def candidates(self, numbers: Numbers) -> Numbers:
        """Pairs of documents worth comparing.

        Args:
            numbers: of the documents to look at, increasing.

        Returns:
            int64 [pairs, 2], sorted, each (earlier, later); every document that shares a band with others is paired
            with the first of them and with the one before it, so the number of pairs is linear in that of documents.
        """
        self._write()
        found = np.zeros(0, dtype=np.uint64)
        try:
            for path in self._bands:
                keys = np.fromfile(path, dtype="<u4")[numbers]
                found = np.unique(np.concatenate([found, _pairs(keys, numbers)]))
            pairs = np.stack([found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
            return pairs[self._similarity(pairs) >= _WORTH_COMPARING]
        except OSError as error:
            raise explain(error, self._folder, "read") from error

    def _similarity(self, pairs: Numbers) -> npt.NDArray[np.float64]:
        """An estimate for each pair, from the share of equal minima less what chance makes equal."""
        equal = np.zeros(len(pairs))
        for start in range(0, len(pairs), _BLOCK):
            # Mapped anew each time: what was read counts as memory of the process for as long as the map lives.
            minima = np.memmap(self._minima, dtype=np.uint8, mode="r").reshape(-1, BANDS * ROWS)
            one, other = pairs[start : start + _BLOCK].T
            equal[start : start + _BLOCK] = (minima[one] == minima[other]).mean(axis=1)
        return (equal - 1 / 256) / (1 - 1 / 256)


def _pairs(keys: npt.NDArray[np.uint32], numbers: Numbers) -> npt.NDArray[np.uint64]:
    """The pairs of documents that one band proposes, each as earlier * 2^32 + later."""
    order = np.argsort(keys, kind="stable")
    keys, members = keys[order], numbers[order].astype(np.uint64)
    later = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    begins = np.arange(len(keys))
    begins[later] = 0
    firsts = members[np.maximum.accumulate(begins)]
    return np.concatenate(
        [(earlier << np.uint64(32)) | members[later] for earlier in (firsts[later], members[later - 1])]
    )
