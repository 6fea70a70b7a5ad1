"""Tokens a second of writing, one stream, nima beside its peers on the same weights, in turns.

    python benchmarks/decoding.py CHECKPOINT [--llama-node FOLDER] [--tokens 128] [--json FILE]

Hugging Face's generate takes part when transformers is installed, llama.cpp when FOLDER/node_modules holds its Node
binding (`npm install node-llama-cpp`). Both get the checkpoint as `nima export` writes it. The last column is the share
of this machine's memory bandwidth, measured in the same run, that reading every weight once for each token amounts to;
a small model stays in the processor's caches, and can pass 100 %.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from export_parity import has_llama_cpp
from race import Contender, Result, at_best, race
from rich.console import Console
from rich.table import Table

from nima_cli.engine.checkpoint.file import load
from nima_cli.engine.checkpoint.files import find
from nima_cli.engine.export.run import export_checkpoint

PROMPT = [str(number) for number in range(10, 42)]


@dataclass(frozen=True)
class Entry:
    """A contender: its script, what it is told, and the bytes of one of its weights."""

    script: str
    told: tuple[str, ...]
    threads: int
    weight_bytes: int


def entries(checkpoint: Path, exports: Path, asked: argparse.Namespace) -> dict[str, Entry]:
    """Who can take part here."""
    told = ("--tokens", str(asked.tokens), "--prompt", *PROMPT)
    found = {}
    for dtype, size in (("float32", 4), ("bfloat16", 2), ("int8", 1)):
        for threads in sorted({1, asked.threads}):
            told_nima = (str(checkpoint), "--dtype", dtype, *told)
            found[f"nima {dtype}, {threads} thread{'s' * (threads > 1)}"] = Entry(
                "nima_decodes.py", told_nima, threads, size
            )
    found["nima float32 with torch"] = Entry("nima_decodes.py", (str(checkpoint), "--torch", *told), asked.threads, 4)
    if find_spec("transformers"):
        list(export_checkpoint(checkpoint, exports / "hf", format="hf"))
        for dtype, size in (("float32", 4), ("bfloat16", 2)):
            told_hf = (str(exports / "hf"), "--dtype", dtype, *told)
            found[f"HF generate {dtype}"] = Entry("transformers_decodes.py", told_hf, asked.threads, size)
    if has_llama_cpp(asked.llama_node):
        list(export_checkpoint(checkpoint, exports / "model.gguf", format="gguf", dtype="float16"))
        for threads in sorted({1, asked.threads}):
            told_llama = (
                str(asked.llama_node.resolve()), str(exports / "model.gguf"), str(threads), str(asked.tokens), *PROMPT,
            )  # fmt: skip
            found[f"llama.cpp float16, {threads} thread{'s' * (threads > 1)}"] = Entry(
                "llama_decodes.mjs", told_llama, threads, 2
            )
    return found


def bandwidth(threads: int) -> float:
    """Bytes a second that reading a large tensor reaches."""
    torch.set_num_threads(threads)
    large = torch.ones(2**26)
    return large.nbytes / at_best(large.sum)


@dataclass(frozen=True)
class Row:
    """What is said of one contender.

    Attributes:
        speed, slowest, fastest: tokens a second.
        limit: tokens a second at which reading its weights would take all of the memory bandwidth.
        first: seconds to the end of its first turn.
        peak: bytes of memory.
    """

    name: str
    speed: float
    slowest: float
    fastest: float
    limit: float
    first: float
    peak: int


def rows(results: Mapping[str, Result], who: Mapping[str, Entry], tokens: int, rate: float) -> Iterator[Row]:
    """The figures, for weights of one byte that can be read `rate` times a second."""
    for name, result in results.items():
        slowest, fastest = tokens / max(result.turns), tokens / min(result.turns)
        limit = rate / who[name].weight_bytes
        yield Row(name, tokens / result.median, slowest, fastest, limit, result.first, result.peak)


def table(found: Sequence[Row]) -> Table:
    """What people look at."""
    shown = Table(
        "", "tokens/s", "slowest..fastest", "of bandwidth", "first turn", "memory", box=None, pad_edge=False
    )  # fmt: skip
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in found:
        shown.add_row(
            row.name, f"{row.speed:,.0f}", f"{row.slowest:,.0f}..{row.fastest:,.0f}", f"{row.speed / row.limit:.0%}",
            f"{row.first:.1f} s", f"{row.peak / 1e6:,.0f} MB" if row.peak else "",
        )  # fmt: skip
    return shown


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--llama-node", type=Path)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    checkpoint = find(asked.checkpoint)
    parameters = load(checkpoint).shape.parameters()
    rate = bandwidth(asked.threads)
    with tempfile.TemporaryDirectory() as exports, ExitStack() as running:
        who = entries(checkpoint, Path(exports), asked)
        contenders = {
            name: running.enter_context(Contender(entry.script, entry.told, threads=entry.threads))
            for name, entry in who.items()
        }
        results = race(contenders, asked.rounds)
    found = list(rows(results, who, asked.tokens, rate / parameters))
    Console(width=120).print(table(found))
    if asked.json is not None:
        asked.json.write_text(json.dumps({"rows": [asdict(row) for row in found], "bandwidth": rate}, indent=1))
    print(f"{parameters:,} parameters; a large tensor is read at {rate / 1e9:.1f} GB/s with {asked.threads} threads")


if __name__ == "__main__":
    main()
