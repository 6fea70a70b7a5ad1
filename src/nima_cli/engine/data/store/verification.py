"""Hashes large files while the work has begun, so that a dataset of any size opens at once."""

import threading
from collections.abc import Sequence
from pathlib import Path

from nima_cli.errors import DataError, NimaError
from nima_cli.files import explain, sha256_file

AGAIN = "run `nima data prepare` again"


def check_file(path: Path, expected: str) -> None:
    """Compare a file with its hash.

    Raises:
        DataError: it is missing or altered.
        ResourceError: it cannot be read.
    """
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        raise DataError(f"{path}: missing from this prepared dataset", hint=AGAIN) from None
    except OSError as error:
        raise explain(error, path, "read this file") from error
    if found != expected:
        raise DataError(f"{path}: altered since the dataset was prepared", hint=AGAIN)


class Verification:
    """Files that a thread of its own compares with their hashes, one after the other."""

    def __init__(self, files: Sequence[tuple[Path, str]]) -> None:
        """Begin with these files and their hashes; without any there is nothing to do."""
        self._problem: NimaError | None = None
        self._thread = threading.Thread(target=self._check, args=(tuple(files),), daemon=True)
        if files:
            self._thread.start()

    def _check(self, files: Sequence[tuple[Path, str]]) -> None:
        try:
            for path, expected in files:
                check_file(path, expected)
        except NimaError as problem:
            self._problem = problem

    def require(self) -> None:
        """Go on unless something has been found by now; waits for nothing.

        Raises:
            NimaError: what was found.
        """
        if self._problem is not None:
            raise self._problem
