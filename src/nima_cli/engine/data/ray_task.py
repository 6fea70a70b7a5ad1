"""What a worker of a Ray cluster does with one task; knows nothing of the cluster, nor of what is computed."""

import functools
import platform
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from nima_cli import __version__
from nima_cli.errors import NimaError, ResourceError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Needs:
    """What every machine of a cluster must have.

    Attributes:
        folders: absolute paths that all machines share.
        versions: of nima and of Python; others could give other bytes.
    """

    folders: tuple[Path, ...]
    versions: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """The result of a task, or the expected failure that it ended with."""

    result: R | None = None
    failure: NimaError | None = None


def own_versions() -> tuple[str, str]:
    """Versions of nima and of Python in this process."""
    return __version__, ".".join(platform.python_version_tuple()[:2])


def work(function: Callable[[T], R], task: T, needs: Needs) -> Outcome[R]:
    """Apply `function` to `task`; an expected failure is an outcome too, so that it arrives as it was raised."""
    try:
        _check(needs)
        return Outcome(function(task))
    except NimaError as error:
        return Outcome(failure=error)


@functools.lru_cache(maxsize=1)
def _check(needs: Needs) -> None:
    """Once a process: machines may join a cluster at any time.

    Raises:
        ResourceError: this machine lacks something.
    """
    host = socket.gethostname()
    if own_versions() != needs.versions:
        here, there = ("nima {} and Python {}".format(*versions) for versions in (needs.versions, own_versions()))
        raise ResourceError(
            f"{host}: the Ray worker there runs {there}, and this is {here}",
            hint="install the same versions on every machine of the cluster",
        )
    for folder in needs.folders:
        if not folder.is_dir():
            raise ResourceError(
                f"{folder}: the Ray worker on {host} cannot see this folder",
                hint="keep the sources and the output folder where all machines of the cluster find them by one path",
            )
