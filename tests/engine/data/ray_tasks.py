"""Tasks that tests give to a Ray cluster, and a program that runs them; prints one JSON object."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nima_cli.cli.commands.data_flags import set_ray_environment
from nima_cli.engine.data.ray_mapper import ray_mapper
from nima_cli.errors import DataError, NimaError

TAKEN: list[int] = []


def double(number: int) -> int:
    if number == 13:
        raise DataError("thirteen", hint="take another")
    if number == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def ones(size: int) -> npt.NDArray[np.int64]:
    return np.ones(size, dtype=np.int64)


def endless() -> Iterator[int]:
    for number in range(100, 10_000):
        TAKEN.append(number)
        yield number


def failure(folder: Path, number: int) -> list[object]:
    """How a map ends that meets `number`, on a cluster that must see `folder`."""
    try:
        with ray_mapper("local", 2, [folder]) as run:
            list(run(double, [1, number, 2]))
    except NimaError as error:
        return [type(error).__name__, error.message, error.hint]
    return []


def main() -> None:
    set_ray_environment(alone=True)
    handler = signal.getsignal(signal.SIGTERM)
    with ray_mapper("local", 2, [Path.cwd()]) as run:
        results = run(double, endless())
        first = [next(results) for _ in range(20)]
        [array] = run(ones, [2**20])
        array += 1  # as after a process pool, results are the caller's own
    found = {
        "first": first,
        "taken": len(TAKEN),
        "array": int(array.sum()),
        "signal": signal.getsignal(signal.SIGTERM) == handler,
        "error": failure(Path.cwd(), 13),
        "dies": failure(Path.cwd(), 99),
        "unseen": failure(Path.cwd() / "elsewhere", 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
