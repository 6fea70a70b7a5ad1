"""Runs a download in a process of its own, which can be ended at any moment, and watches how far it is."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from nima_cli.events import Event, Progress

_PAUSE = 0.2  # seconds between two looks


def run_download(
    command: Sequence[str | Path],
    log: Path,
    *,
    environ: Mapping[str, str],
    phase: str,
    done: Callable[[], int],
    total: int,
) -> Generator[Event, None, int]:
    """Run `command`, tell its progress in bytes, and return its exit code; whatever ends this ends the process.

    Args:
        log: gets what the process prints.
        done: the bytes that have come so far.
        total: the bytes to come, 0 if unknown.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                yield Progress(phase, min(done(), total or done()), total, "bytes")
                try:
                    return process.wait(_PAUSE)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()


def bytes_in(folder: Path) -> int:
    """Bytes of all files below `folder`, some of which may vanish meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total
