"""What a larger dataset costs training: seconds to open it, memory, and tokens a second, of 1 MB and 1 GB in turns.

    python benchmarks/growth.py DATA [--sizes 1e6 1e9] [--folder FOLDER] [--shape gpt-tiny] [--rounds 5] [--json FILE]

DATA is a prepared dataset, whose tokenizer the datasets of random ids get that are written for this, through the
project's own writer. They lie in a temporary folder of the system, or in `--folder`, which keeps them. Opening is timed
in a process of its own each time, with the file in the system's cache: what is left is the program's own work. Neither
the speed of training nor the memory that is not the files' own should depend on the size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from race import PEERS, Contender, race
from rich.console import Console
from rich.table import Table

from nima_cli.engine.data.store.dataset_files import INDEX_DTYPE, SPLITS, read_dataset, token_dtype
from nima_cli.engine.data.store.dataset_writer import locked_folder, staged
from nima_cli.engine.data.store.encode_shard import EncodedShard, SplitCounts
from nima_cli.events import Event, Progress

SAMPLE = 400  # tokens
_SHARD = 2500  # samples
_SMALL = 2 * _SHARD * SAMPLE  # bytes of the other two splits, at most
_FIRST_ID = 16  # the ids before it have a meaning of their own


@dataclass(frozen=True)
class Growth:
    """What one size costs.

    Attributes:
        opening, splitting, first_batch: seconds: verifying the files, mapping the train split, and the first rows.
        private: bytes that opening and the first rows leave in memory beyond the imports, without mapped files.
        mapped: bytes of files that are in the process's memory then; the system can take them back.
        speed: tokens a second of training.
        peak: bytes that training held at most, mapped files included.
    """

    size: float
    samples: int
    opening: float
    splitting: float
    first_batch: float
    private: float
    mapped: float
    speed: float = 0.0
    peak: int = 0


def shards(tokens: int, vocabulary: int, bos_id: int) -> Iterator[EncodedShard]:
    """Samples of random ids, each a document."""
    generator, dtype = np.random.default_rng(0), token_dtype(vocabulary)
    for start in range(0, tokens // SAMPLE, _SHARD):
        count = min(_SHARD, tokens // SAMPLE - start)
        ids = generator.integers(_FIRST_ID, vocabulary, size=(count, SAMPLE), dtype=dtype)
        ids[:, 0] = bos_id
        index = np.zeros(count, dtype=INDEX_DTYPE)
        index["offset"], index["document"] = SAMPLE, np.arange(count)
        targets = count * (SAMPLE - 1)
        yield EncodedShard(ids.tobytes(), b"", b"", index, SplitCounts(count, count, count * SAMPLE, *[targets] * 4), 0)


def write(template: Path, folder: Path, size: float) -> None:
    """A dataset whose train split has `size` bytes of token ids."""
    files = read_dataset(template)
    tokenizer, width = files.tokenizer, token_dtype(files.tokenizer.vocab_size).itemsize
    metadata: dict[str, Any] = {**files.metadata, "loss": "all", "splits": {}}

    def tell(shard: EncodedShard) -> Event:
        return Progress("writing", shard.counts.documents, 0, "documents")

    with locked_folder(folder), staged(folder) as writer:
        writer.write_tokenizer(tokenizer)
        for split in SPLITS:
            tokens = int((size if split == "train" else min(size, _SMALL)) / width)
            made = shards(tokens, tokenizer.vocab_size, tokenizer.bos_id)
            counts, _ = drained(writer.write_split(split, made, tell, masked=False))
            metadata["splits"][split] = {**asdict(counts), "sha256": writer.hashes[f"{split}.bin"]}
        writer.publish({**metadata, "files": writer.hashes})


def drained(generator: Any) -> Any:
    """What a generator returns when it is through."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def opened(folder: Path) -> dict[str, float]:
    """Seconds and bytes of opening, from a process of its own."""
    done = subprocess.run(
        [sys.executable, str(PEERS / "nima_opens.py"), str(folder)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(folders: dict[float, Path], asked: argparse.Namespace) -> list[Growth]:
    """Open each in turns, then train on each in turns."""
    openings: dict[float, list[dict[str, float]]] = {size: [] for size in folders}
    for _ in range(asked.rounds):
        for size, folder in folders.items():
            openings[size].append(opened(folder))
    vocabulary = read_dataset(asked.data).tokenizer.vocab_size
    with ExitStack() as running:
        told = ["--shape", asked.shape, "--rows", "4", "--steps", str(asked.steps), "--vocabulary", str(vocabulary)]
        contenders = {
            str(size): running.enter_context(Contender("nima_trains.py", [str(folder), *told], threads=asked.threads))
            for size, folder in folders.items()
        }
        results = race(contenders, asked.rounds)
    tokens = 4 * 512 * asked.steps
    found = []
    for size, each in openings.items():
        medians = {name: statistics.median(one[name] for one in each) for name in each[0]}
        result = results[str(size)]
        found.append(
            Growth(size=size, samples=int(medians.pop("samples")), **medians, speed=tokens / result.median,
                   peak=result.peak)
        )  # fmt: skip
    return found


def table(found: Sequence[Growth]) -> Table:
    """What people look at."""
    shown = Table(
        "token ids", "samples", "open", "split", "first batch", "private", "mapped", "tokens/s", "peak", box=None,
        pad_edge=False,
    )  # fmt: skip
    for column in shown.columns:
        column.justify = "right"
    for growth in found:
        shown.add_row(
            f"{growth.size / 1e6:,.0f} MB", f"{growth.samples:,}", f"{growth.opening:.3f} s",
            f"{growth.splitting:.3f} s", f"{growth.first_batch:.3f} s", f"{growth.private / 1e6:,.1f} MB",
            f"{growth.mapped / 1e6:,.1f} MB", f"{growth.speed:,.0f}", f"{growth.peak / 1e6:,.0f} MB",
        )  # fmt: skip
    return shown


def main() -> None:
    """Write, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e6, 1e9], help="bytes of token ids")
    parser.add_argument("--folder", type=Path, help="where the datasets are, or go and stay")
    parser.add_argument("--shape", default="gpt-tiny")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {size: (asked.folder or Path(temporary)) / f"{size:.0f}" for size in asked.sizes}
        for size, folder in folders.items():
            if not folder.exists():
                write(asked.data, folder, size)
        found = measure(folders, asked)
    Console(width=120).print(table(found))
    first, last = found[0], found[-1]
    print(f"from {first.size:.0e} to {last.size:.0e} bytes: {last.speed / first.speed:.3f} times the tokens a second")
    if asked.json is not None:
        asked.json.write_text(json.dumps([asdict(growth) for growth in found], indent=1))


if __name__ == "__main__":
    main()
