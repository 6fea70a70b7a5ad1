"""Opens a prepared dataset as training does and takes its first rows; prints seconds and bytes as JSON (Linux)."""

import itertools
import json
import sys
import time
from pathlib import Path

from nima_cli.engine.data.store.dataset import open_dataset


def memory(kind: str) -> int:
    """Bytes of this process, `RssAnon` or `RssFile`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))


def main() -> None:
    """Once each."""
    before = {kind: memory(kind) for kind in ("RssAnon", "RssFile")}
    clock = [time.perf_counter()]
    dataset = open_dataset(Path(sys.argv[1]))
    clock.append(time.perf_counter())
    split = dataset.split("train")
    clock.append(time.perf_counter())
    split.batch(range(4), context_length=512, seed=42)
    clock.append(time.perf_counter())
    opening, splitting, first_batch = (end - start for start, end in itertools.pairwise(clock))
    print(
        json.dumps(
            {
                "samples": split.samples, "opening": opening, "splitting": splitting, "first_batch": first_batch,
                "private": memory("RssAnon") - before["RssAnon"], "mapped": memory("RssFile") - before["RssFile"],
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
