"""Keeps sketches in files while a dataset is made, so that memory does not grow with them; knows no documents.

One file for each band, because candidates are looked for band by band, and one for the marks. No file stays open.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.dedup.near_duplicates import BANDS, ROWS, Sketches
from nima_cli.files import explain

# Sketches that wait in memory, so that the files are opened now and then only.
_HELD = 2**14


class SketchFiles:
    """Sketches that are written one after the other, and can be read at any time.

    Attributes:
        documents: how many sketches there are.
    """

    def __init__(self, folder: Path) -> None:
        """Create the files.

        Raises:
            ResourceError: they cannot be created.
        """
        self.documents = 0
        self._held: list[Sketches] = []
        self._written = 0
        self._folder = folder
        self._marks = folder / "marks"
        self._bands = [folder / f"band-{number}" for number in range(BANDS)]
        try:
            folder.mkdir(exist_ok=True)
            for path in (self._marks, *self._bands):
                path.write_bytes(b"")
        except OSError as error:
            raise explain(error, folder, "write") from error

    def append(self, sketches: Sketches) -> None:
        """Add sketches.

        Raises:
            ResourceError: the disk refused.
        """
        self._held.append(sketches)
        self.documents += len(sketches.marks)
        if self.documents - self._written >= _HELD:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        marks = np.concatenate([one.marks for one in self._held])
        bands = np.concatenate([one.bands for one in self._held]).astype("<u4")
        try:
            for path, part in zip((self._marks, *self._bands), (marks, *bands.T), strict=True):
                with path.open("ab") as stream:
                    stream.write(part.tobytes())
        except OSError as error:
            raise explain(error, self._folder, "write") from error
        self._held, self._written = [], self.documents

    def band(self, number: int) -> npt.NDArray[np.uint32]:
        """uint32 [documents], a column of `Sketches.bands`.

        Raises:
            ResourceError: the disk refused.
        """
        self._write()
        try:
            return np.fromfile(self._bands[number], dtype="<u4")
        except OSError as error:
            raise explain(error, self._folder, "read") from error

    def marks_of(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """uint8 [numbers, BANDS * ROWS], rows of `Sketches.marks`.

        Raises:
            ResourceError: the disk refused.
        """
        self._write()
        try:
            # Mapped anew each time: what was read counts as memory of the process for as long as the map lives.
            marks = np.memmap(self._marks, dtype=np.uint8, mode="r", shape=(self.documents, BANDS * ROWS))
            return np.asarray(marks[numbers])
        except OSError as error:
            raise explain(error, self._folder, "read") from error
