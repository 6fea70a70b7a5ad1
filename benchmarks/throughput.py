"""Tokens a second of training, nima beside its peers, on the same shapes, tokens and threads, in turns.

    python benchmarks/throughput.py DATA [--nanogpt FOLDER] [--litgpt FOLDER] [--shape gpt-tiny] [--json FILE]

DATA is a prepared dataset. nanoGPT takes part when its checkout is named, litgpt when the folder is that pip put it in
(`pip install --no-deps --target FOLDER litgpt lightning lightning-utilities torchmetrics jsonargparse`), Hugging
Face's Trainer when transformers and accelerate are installed (extra `bench`). It prints medians, their spread, how many
times as fast nima is, the peak of memory, and the share of the physical limit: the operations that a token needs in the
contender's own model, 6 for each weight of a matrix and 12 for each layer, width and place in the context (PaLM,
2204.02311), at the rate at which this machine multiplies large matrices of its type in the same run. Where nima
multiplies weights as 8-bit integers, it does not so in attention, and its limit counts both rates.

`--device cuda` trains everybody on a GPU and takes `--peak` for the limit. That path was not tried on a GPU.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from race import PEERS, Contender, Result, at_best, race
from rich.console import Console
from rich.table import Table

from nima_cli.config.load import load_config
from nima_cli.engine.data.store.dataset_files import read_metadata
from nima_cli.engine.device import cpu_features, pick_device
from nima_cli.engine.kernels.trust import gains_from_int8
from nima_cli.engine.model.shape import resolve

NIMA = "nima"
sys.path.append(str(PEERS))
from shapes import SHAPES  # noqa: E402 - of the peers


@dataclass(frozen=True)
class Entry:
    """A contender: its name in the table, its script, and what the script is told beside what all are told.

    Attributes:
        dtype: in which it multiplies weights; on a GPU all do it in bfloat16.
        attention: in which it does the products of attention.
    """

    name: str
    script: str
    told: tuple[str, ...] = ()
    dtype: str = "bfloat16"
    attention: str = "bfloat16"


def entries(nanogpt: Path | None, litgpt: Path | None, compiled: bool) -> Iterator[Entry]:
    """Who can take part here."""
    ours = pick_device("cpu", True)
    int8 = gains_from_int8(cpu_features())
    yield Entry(NIMA, "nima_trains.py", dtype="int8" if int8 else ours.dtype_name, attention=ours.dtype_name)
    if nanogpt is not None:
        folder = ("--folder", str(nanogpt))
        yield Entry("nanoGPT", "nanogpt_trains.py", folder, "float32", "float32")
        if compiled:
            yield Entry("nanoGPT compiled", "nanogpt_trains.py", (*folder, "--compile"), "float32", "float32")
    if litgpt is not None:
        folder = ("--folder", str(litgpt))
        yield Entry("litgpt bf16", "litgpt_trains.py", folder)
        if compiled:
            yield Entry("litgpt bf16 compiled", "litgpt_trains.py", (*folder, "--compile"))
    if find_spec("transformers") and find_spec("accelerate"):
        yield Entry("HF Trainer bf16", "transformers_trains.py", ("--bf16",))
        if compiled:
            yield Entry("HF Trainer bf16 compiled", "transformers_trains.py", ("--bf16", "--compile"))


def chosen(asked: argparse.Namespace) -> dict[str, Entry]:
    """Those of them that the user wants."""
    everybody = entries(asked.nanogpt, asked.litgpt, asked.compiled)
    return {entry.name: entry for entry in everybody if not asked.only or entry.name in asked.only}


def run(asked: argparse.Namespace, who: Mapping[str, Entry], vocabulary: int) -> dict[str, Result]:
    """Let everybody train in turns."""
    told = [
        str(asked.data), "--shape", asked.shape, "--rows", str(asked.rows), "--micro-batch", str(asked.micro_batch),
        "--steps", str(asked.steps), "--vocabulary", str(vocabulary), "--device", asked.device,
    ]  # fmt: skip
    with ExitStack() as running:
        contenders = {
            name: running.enter_context(Contender(entry.script, [*told, *entry.told], threads=asked.threads))
            for name, entry in who.items()
        }
        return race(contenders, asked.rounds)


def operations(name: str, shape: str, vocabulary: int) -> tuple[int, int]:
    """That one token costs forward and backward: with weights, and in attention with the whole context."""
    sizes = SHAPES[shape]
    attention = 12 * sizes.layers * sizes.width * sizes.context
    if name == NIMA:
        told = [f"model.context_length={sizes.context}"]
        model = load_config(None, preset=shape, set_=told, environ={}).config.model
        return resolve(model, vocabulary).flops_per_token() - attention, attention
    weights = 12 * sizes.layers * sizes.width**2 + vocabulary * sizes.width  # the MLP of GPT-2 is 4 times as wide
    return 6 * weights, attention


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a large matrix product, at its best."""
    left, right = ((torch.randn(size, size) * 9).to(dtype) for _ in range(2))
    multiply = torch._int_mm if dtype is torch.int8 else torch.mm
    return 2 * size**3 / at_best(lambda: multiply(left, right))


def rates(types: Collection[str]) -> dict[str, float]:
    """Of each type by its name."""
    return {name: matmul_rate(getattr(torch, name)) for name in sorted(types)}


@dataclass(frozen=True)
class Row:
    """What is said of one contender.

    Attributes:
        speed, slowest, fastest: tokens a second.
        times: as fast as it nima is.
        limit: tokens a second that its matrix products would allow.
        first: seconds to the end of its first turn.
        peak: bytes of memory.
    """

    name: str
    speed: float
    slowest: float
    fastest: float
    times: float | None
    limit: float
    first: float
    peak: int


def rows(results: Mapping[str, Result], tokens: int, limits: Mapping[str, float]) -> Iterator[Row]:
    """The figures; ratios are medians over the rounds."""
    ours = results.get(NIMA)
    for name, result in results.items():
        times = None
        if ours is not None and name != NIMA:
            times = statistics.median(theirs / mine for theirs, mine in zip(result.turns, ours.turns, strict=True))
        slowest, fastest = tokens / max(result.turns), tokens / min(result.turns)
        yield Row(name, tokens / result.median, slowest, fastest, times, limits[name], result.first, result.peak)


def table(found: Sequence[Row]) -> Table:
    """What people look at."""
    shown = Table(
        "", "tokens/s", "slowest..fastest", "nima is", "limit", "of limit", "first turn", "memory", box=None,
        pad_edge=False,
    )  # fmt: skip
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in found:
        shown.add_row(
            row.name, f"{row.speed:,.0f}", f"{row.slowest:,.0f}..{row.fastest:,.0f}",
            f"{row.times:.2f}x as fast" if row.times else "", f"{row.limit:,.0f}", f"{row.speed / row.limit:.0%}",
            f"{row.first:.1f} s", f"{row.peak / 1e6:,.0f} MB" if row.peak else "",
        )  # fmt: skip
    return shown


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--litgpt", type=Path, help="a folder that litgpt was installed into")
    parser.add_argument("--shape", choices=tuple(SHAPES), default="gpt-tiny")
    parser.add_argument("--rows", type=int, default=16, help="rows of 512 tokens in a step")
    parser.add_argument("--micro-batch", type=int, default=16, help="rows at once")
    parser.add_argument("--steps", type=int, default=2, help="steps in a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: untested here")
    parser.add_argument("--peak", type=float, default=989e12, help="operations a second of the GPU, for --device cuda")
    parser.add_argument("--no-compiled", dest="compiled", action="store_false", help="leave out the compiled peers")
    parser.add_argument("--only", action="append", help="this contender, and others so named")
    parser.add_argument("--json", type=Path, help="where to write the figures and the seconds of every turn")
    return parser


def main() -> None:
    """Run, print, and keep the figures if asked."""
    asked = arguments().parse_args()
    torch.set_num_threads(asked.threads)
    vocabulary = int(read_metadata(asked.data)["tokenizer"]["vocab_size"])
    who = chosen(asked)
    types = {dtype for entry in who.values() for dtype in (entry.dtype, entry.attention)}
    before = rates(types)
    results = run(asked, who, vocabulary)
    after = rates(types)  # whatever else the machine does may have slowed one of the two down
    best = {name: max(before[name], after[name]) for name in before}
    of = dict.fromkeys(best, asked.peak) if asked.device == "cuda" else best
    limits = {}
    for name, entry in who.items():
        weights, attention = operations(name, asked.shape, vocabulary)
        limits[name] = 1 / (weights / of[entry.dtype] + attention / of[entry.attention])
    tokens = asked.rows * 512 * asked.steps
    found = list(rows(results, tokens, limits))
    Console(width=140).print(table(found))
    print("; ".join(f"matrix products of 2048 in {name}: {rate / 1e9:,.0f} Gop/s" for name, rate in best.items()))
    if asked.device == "cuda":
        print(f"on a GPU the limit is {asked.peak / 1e12:,.0f} TFLOP/s, and `of limit` is MFU; untested by the authors")
    if asked.json is not None:
        kept = {name: {"first": result.first, "turns": result.turns} for name, result in results.items()}
        raw = {"tokens_per_turn": tokens, "seconds": kept, "matmul": best}
        asked.json.write_text(json.dumps({"rows": [asdict(row) for row in found], **raw}, indent=1))


if __name__ == "__main__":
    main()
