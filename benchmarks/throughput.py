"""Tokens a second of training, nima beside its peers, on the same shapes, tokens and threads, in turns.

    python benchmarks/throughput.py DATA [--nanogpt FOLDER] [--shape gpt-tiny] [--rounds 5] [--threads 2] [--json FILE]

DATA is a prepared dataset. nanoGPT takes part when its checkout is named, Hugging Face's Trainer when transformers and
accelerate are installed (extra `bench`). It prints medians, their spread, and how many times as fast nima is; beside it
the share of what this machine's matrix products do at their best, in the same run.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from race import Contender, Result, race
from rich.console import Console
from rich.table import Table

from nima_cli.engine.data.dataset import open_dataset

NIMA = "nima"


@dataclass(frozen=True)
class Entry:
    """A contender: its name in the table, its script, and what the script is told beside what all are told."""

    name: str
    script: str
    told: tuple[str, ...] = ()


def entries(nanogpt: Path | None, compiled: bool) -> Iterator[Entry]:
    """Who can take part here."""
    yield Entry(NIMA, "nima_trains.py")
    if nanogpt is not None:
        folder = ("--folder", str(nanogpt))
        yield Entry("nanoGPT", "nanogpt_trains.py", folder)
        if compiled:
            yield Entry("nanoGPT compiled", "nanogpt_trains.py", (*folder, "--compile"))
    if find_spec("transformers") and find_spec("accelerate"):
        yield Entry("HF Trainer bf16", "transformers_trains.py", ("--bf16",))
        if compiled:
            yield Entry("HF Trainer bf16 compiled", "transformers_trains.py", ("--bf16", "--compile"))


def run(asked: argparse.Namespace) -> dict[str, Result]:
    """Let everybody train in turns."""
    told = [
        str(asked.data), "--shape", asked.shape, "--rows", str(asked.rows), "--micro-batch", str(asked.micro_batch),
        "--steps", str(asked.steps), "--vocabulary", str(open_dataset(asked.data).tokenizer.vocab_size),
    ]  # fmt: skip
    with ExitStack() as running:
        contenders = {
            entry.name: running.enter_context(
                Contender(entry.script, [*told, *entry.told], threads=asked.threads)
            )
            for entry in entries(asked.nanogpt, asked.compiled)
            if not asked.only or entry.name in asked.only
        }  # fmt: skip
        return race(contenders, asked.rounds)


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a large matrix product, at its best."""
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def table(results: Mapping[str, Result], tokens: int) -> Table:
    """What people look at."""
    found = Table("", "tokens/s", "slowest..fastest", "nima is", "first turn", box=None, pad_edge=False)
    for column in found.columns[1:]:
        column.justify = "right"
    for name, result in results.items():
        spread = f"{tokens / max(result.turns):,.0f}..{tokens / min(result.turns):,.0f}"
        times = statistics.median(
            theirs / ours for theirs, ours in zip(result.turns, results[NIMA].turns, strict=True)
        ) if NIMA in results and name != NIMA else None  # fmt: skip
        found.add_row(
            name, f"{tokens / result.median:,.0f}", spread, f"{times:.2f}x as fast" if times else "",
            f"{result.first:.1f} s",
        )  # fmt: skip
    return found


def main() -> None:
    """Run, print, and keep the raw figures if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--shape", default="gpt-tiny")
    parser.add_argument("--rows", type=int, default=16, help="rows of 512 tokens in a step")
    parser.add_argument("--micro-batch", type=int, default=16, help="rows at once, for the peers")
    parser.add_argument("--steps", type=int, default=2, help="steps in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compiled", dest="compiled", action="store_false", help="leave out the compiled peers")
    parser.add_argument("--only", action="append", help="this contender, and others so named")
    parser.add_argument("--json", type=Path, help="where to write the seconds of every turn")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rates = {str(dtype).removeprefix("torch."): matmul_rate(dtype) for dtype in (torch.bfloat16, torch.float32)}
    results = run(asked)
    tokens = asked.rows * 512 * asked.steps
    Console().print(table(results, tokens))
    print("; ".join(f"matrix products of 2048 in {name}: {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items()))
    if asked.json is not None:
        kept = {name: {"first": result.first, "turns": result.turns} for name, result in results.items()}
        asked.json.write_text(json.dumps({"tokens_per_turn": tokens, "seconds": kept, "matmul": rates}, indent=1))


if __name__ == "__main__":
    main()
