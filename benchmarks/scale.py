"""Says what of `nima data prepare` is spread over processes and what is not, in processor seconds, and what 1 TB takes.

    python benchmarks/scale.py --cores 256 docs qa.jsonl

The dataset is prepared in one process. Whatever a cluster would compute is timed apart from the rest, and what crosses
the process boundary is packed and unpacked as for a process pool: the caller pays for packing tasks and for unpacking
results. Processor seconds, not wall seconds, are counted, so other work on the machine disturbs little; waiting for
disks and networks is not in them.
"""

import argparse
import contextlib
import pickle
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data import prepare as preparing
from nima_cli.events import DatasetReady, Progress

T = TypeVar("T")
R = TypeVar("R")


class Stopwatch:
    """A map that works in this process and counts the seconds of each function, and those of crossing over."""

    def __init__(self) -> None:
        self.spread: dict[str, float] = defaultdict(float)
        self.crossing = 0.0

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
        for task in tasks:
            begin = time.process_time()
            packed = pickle.dumps((function, task))
            packed_at = time.process_time()
            result = pickle.dumps(function(pickle.loads(packed)[1]))
            done = time.process_time()
            unpacked: R = pickle.loads(result)
            self.spread[getattr(function, "func", function).__name__] += done - packed_at
            self.crossing += packed_at - begin + time.process_time() - done
            yield unpacked


def prepared(config: DataConfig, folder: Path, watch: Stopwatch) -> tuple[DatasetReady, dict[str, float]]:
    """What came of it, and the caller's own seconds in each phase."""
    preparing._mapper = lambda *_: contextlib.nullcontext(watch)
    own: dict[str, float] = defaultdict(float)
    phase, ready = "fingerprint", None
    before, elsewhere = time.process_time(), 0.0
    for event in preparing.prepare(config, folder, overwrite=False, workers=1):
        now, spread = time.process_time(), sum(watch.spread.values())
        own[phase] += now - before - (spread - elsewhere)
        before, elsewhere = now, spread
        if isinstance(event, Progress):
            phase = event.phase
        if isinstance(event, DatasetReady):
            ready = event
    assert ready is not None
    return ready, dict(own)


def main() -> None:
    parser = argparse.ArgumentParser(description="What of `nima data prepare` is spread, and what 1 TB takes.")
    parser.add_argument("--cores", type=int, default=256, help="processors of the cluster to compute for")
    parser.add_argument("sources", nargs="+", help="files and folders")
    arguments = parser.parse_args()
    watch = Stopwatch()
    config = DataConfig(sources=[SourceConfig(path=path) for path in arguments.sources])
    with tempfile.TemporaryDirectory() as work:
        ready, own = prepared(config, Path(work) / "data", watch)
    size = sum(
        file.stat().st_size
        for path in map(Path, arguments.sources)
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )
    tera = 1e12 / size
    print(f"{size / 1e6:.1f} MB, {ready.documents:,} documents, {ready.tokens:,} tokens")
    print(f"{'':24}{'seconds':>9}{'MB/s':>9}   {f'1 TB on {arguments.cores} cores':>20}")
    spread = sum(watch.spread.values())
    for name, seconds in watch.spread.items():
        hours = seconds * tera / arguments.cores / 3600
        print(f"spread: {name:16}{seconds:9.2f}{size / 1e6 / seconds:9.1f}{hours:18.2f} h")
    for name, seconds in own.items():
        rate = size / 1e6 / max(seconds, 1e-9)
        # Training looks at a sample of fixed size.
        hours = seconds / 3600 if name == "tokenizer" else seconds * tera / 3600
        print(f"caller: {name:16}{seconds:9.2f}{rate:9.1f}{hours:18.2f} h")
    print(f"  of which packing      {watch.crossing:9.2f}")
    print(f"spread part of all work {spread / (spread + sum(own.values())):9.0%}")


if __name__ == "__main__":
    main()
