"""Time and tokens to a given bits per byte on the validation split: nima beside nanoGPT.

    python benchmarks/learning.py DATA --nanogpt FOLDER [--tokens N ...] [--set key=value ...] [--seeds 1 2 3]
    python benchmarks/learning.py DATA --nanogpt FOLDER --epochs 10

DATA is a prepared dataset, FOLDER a checkout of nanoGPT. The first form trains nanoGPT for `--steps` steps with each
learning rate, takes the best final figure as the target, and looks for the shortest run of nima that ends at or below
it: a schedule is fitted to its length, so each budget is a run of its own. `--tokens` names the budgets to try;
without it they are searched in multiples of 16,384. The second form gives both the tokens of so many epochs and
compares the best figure on the way.

One evaluator measures both, on the whole split. Every run is a process of its own, and its result is kept under
`--out`: a benchmark that was ended goes on where it was, and a change of nima's source makes its runs anew.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drawing import Panel, draw_lines
from race import PEERS
from rich.console import Console
from rich.table import Table

import nima_cli
from nima_cli.engine.data.store.dataset_files import read_metadata

GRAIN = 16384
NIMA, NANOGPT = "nima", "nanoGPT"


@dataclass(frozen=True)
class Group:
    """One contender with one setting: a run for each seed.

    Attributes:
        budget: tokens of each run.
        runs: what the peers wrote.
    """

    name: str
    budget: int
    runs: Sequence[dict[str, Any]]

    def mean(self, what: str) -> float:
        """Over the seeds."""
        return statistics.fmean(run[what] for run in self.runs)


class Laboratory:
    """Runs learners, or recalls what they did.

    Args:
        asked: the command line.
    """

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._folder: Path = asked.out
        self._folder.mkdir(parents=True, exist_ok=True)
        self._told = [
            str(asked.data.resolve()), "--shape", asked.shape, "--evaluations", str(asked.evaluations),
        ]  # fmt: skip

    def nanogpt(self, learning_rate: float, tokens: int) -> Group:
        """Its runs with one learning rate."""
        asked = self._asked
        flags = [flag for flag in ("compile", "bf16") if getattr(asked, flag)]
        told = [
            "--folder", str(asked.nanogpt.resolve()), "--learning-rate", str(learning_rate),
            "--tokens-per-step", str(asked.tokens_per_step), "--dropout", str(asked.dropout),
            *(f"--{flag}" for flag in flags),
        ]  # fmt: skip
        name = " ".join([NANOGPT, f"{learning_rate:g}", *flags])
        return Group(name, tokens, [self._run("nanogpt_learns.py", told, tokens, seed) for seed in asked.seeds])

    def nima(self, tokens: int) -> Group:
        """Its runs with one budget."""
        told = [f"--set={setting}" for setting in self._asked.told]
        runs = [self._run("nima_learns.py", told, tokens, seed) for seed in self._asked.seeds]
        return Group(NIMA, tokens, runs)

    def _run(self, script: str, told: Sequence[str], tokens: int, seed: int) -> dict[str, Any]:
        arguments = [*self._told, *told, "--tokens", str(tokens), "--seed", str(seed)]
        path = self._folder / f"{script.removesuffix('_learns.py')}-{self._fingerprint(script, arguments)}.json"
        if self._asked.fresh or not path.exists():
            print(f"{script}: {tokens:,} tokens, seed {seed}", file=sys.stderr, flush=True)
            self._learn(script, arguments, path)
        result: dict[str, Any] = json.loads(path.read_text())
        return result

    def _learn(self, script: str, arguments: Sequence[str], path: Path) -> None:
        part = path.with_suffix(".part")
        done = subprocess.run(
            [sys.executable, str(PEERS / script), *arguments, "--out", str(part), "--started", str(time.time())],
            env={**os.environ, "OMP_NUM_THREADS": str(self._asked.threads)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{script} ended with {done.returncode}\n{done.stderr[-3000:]}")
        part.rename(path)

    def _fingerprint(self, script: str, arguments: Sequence[str]) -> str:
        """Of everything that a run depends on."""
        data = json.dumps(read_metadata(self._asked.data)["files"], sort_keys=True)
        code = [(PEERS / script).read_text(), (PEERS / "measuring.py").read_text()]
        if script.startswith(NIMA):
            code.append(source_digest())
        all_of_it = json.dumps([arguments, self._asked.threads, data, code])
        return hashlib.sha256(all_of_it.encode()).hexdigest()[:12]


def source_digest() -> str:
    """Of nima's source, but for what it shows and how it is called."""
    root = Path(nima_cli.__file__).parent
    found = hashlib.sha256()
    for path in sorted([*root.glob("engine/**/*.py"), *root.glob("config/*.py")]):
        found.update(path.read_bytes())
    return found.hexdigest()


def attempts(laboratory: Laboratory, asked: argparse.Namespace, target: float, most: int) -> Iterator[Group]:
    """nima's runs on the way to the shortest whose mean figure is at or below the target."""
    if asked.tokens:
        for tokens in sorted(asked.tokens):
            tried = laboratory.nima(tokens)
            yield tried
            if tried.mean("final") <= target:
                return
        return
    low, high = 0, -(-most // GRAIN)  # nothing reaches it with `low`; `high` is assumed to
    while high - low > 1:
        middle = (low + high) // 2
        tried = laboratory.nima(middle * GRAIN)
        yield tried
        low, high = (low, middle) if tried.mean("final") <= target else (middle, high)


def table(groups: Sequence[Group], target: float, what: str) -> Table:
    """What people look at."""
    found = Table(
        "", "tokens", "bits/byte", "seconds", "processor s", "compiling", "set-up", "memory", box=None, pad_edge=False
    )
    for column in found.columns[1:]:
        column.justify = "right"
    for group in groups:
        figures = [run[what] for run in group.runs]
        spread = f" ({min(figures):.3f}..{max(figures):.3f})" if len(figures) > 1 else ""
        reached = " *" if group.name == NIMA and group.mean(what) <= target else ""
        found.add_row(
            group.name, f"{group.mean('tokens'):,.0f}", f"{group.mean(what):.4f}{spread}{reached}",
            f"{group.mean('seconds'):.1f}", f"{group.mean('processor'):.1f}", f"{group.mean('compiling'):.1f}",
            f"{group.mean('setup'):.1f}", f"{group.mean('peak') / 1e6:,.0f} MB",
        )  # fmt: skip
    return found


def verdict(peer: Group, ours: Group) -> str:
    """How many times fewer tokens and seconds."""
    tokens, seconds, processor = (peer.mean(what) / ours.mean(what) for what in ("tokens", "seconds", "processor"))
    everything = [sum(group.mean(part) for part in ("seconds", "compiling", "setup")) for group in (peer, ours)]
    return (
        f"nima is there in {ours.mean('seconds'):.1f} s with {ours.mean('tokens'):,.0f} tokens: "
        f"{tokens:.2f} times fewer tokens, {seconds:.2f} times less time, "
        f"{everything[0] / everything[1]:.2f} times with compiling and set-up, "
        f"{processor:.2f} times less of the processor"
    )


def reached_in(group: Group, target: float) -> str:
    """For a run of several epochs: where on its way it was at or below the target, by the median seed."""
    ways = [next(((t, s) for t, s, bits in run["curve"] if bits <= target), None) for run in group.runs]
    there = [way for way in ways if way is not None]
    if len(there) * 2 <= len(ways):
        return f"nima does not reach {target:.4f} with most of the seeds"
    tokens, seconds = (statistics.median(column) for column in zip(*there, strict=True))
    return f"nima is at or below {target:.4f} after {tokens:,.0f} tokens, {seconds:.1f} s (a median)"


def draw(groups: Sequence[Group], target: float, path: Path) -> None:
    """Bits per byte over tokens and over seconds, of the first seed; nima's budgets are one line of their ends."""
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for group in groups:
        if len(group.runs[0]["curve"]) > 1:
            lines[group.name] = [tuple(point) for point in group.runs[0]["curve"]]
        else:
            point = (group.mean("tokens"), group.mean("seconds"), group.mean("final"))
            lines.setdefault(group.name, []).append(point)
    level = ("the best of nanoGPT", target)
    panels = [
        Panel("Validation", label, "bits per byte", {k: [(p[at], p[2]) for p in v] for k, v in lines.items()}, level)
        for at, label in ((0, "tokens"), (1, "seconds of training"))
    ]
    draw_lines(panels, path)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of nanoGPT")
    parser.add_argument("--shape", default="gpt-tiny")
    parser.add_argument("--steps", type=int, default=400, help="of nanoGPT")
    parser.add_argument("--tokens-per-step", type=int, default=4096, help="of nanoGPT")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3], help="of nanoGPT")
    parser.add_argument("--dropout", type=float, default=0.0, help="of nanoGPT")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave nanoGPT uncompiled")
    parser.add_argument("--bf16", action="store_true", help="nanoGPT under bfloat16 autocast")
    parser.add_argument("--tokens", type=int, nargs="+", help="nima's budgets; searched without it")
    parser.add_argument("--set", action="append", default=[], dest="told", help="of nima: section.key=value; repeat")
    parser.add_argument("--epochs", type=float, help="compare the best figure within so many epochs instead")
    parser.add_argument("--evaluations", type=int, help="of each run; 1, or 20 with --epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("bench/learning"), help="where the results are kept")
    parser.add_argument("--fresh", action="store_true", help="do not recall earlier results")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser


def main() -> None:
    """Run, print, draw."""
    asked = arguments().parse_args()
    asked.evaluations = asked.evaluations or (20 if asked.epochs else 1)
    budget = asked.steps * asked.tokens_per_step
    what = "final"
    if asked.epochs:
        budget, what = round(asked.epochs * read_metadata(asked.data)["splits"]["train"]["tokens"]), "best"
    laboratory = Laboratory(asked)
    peers = [laboratory.nanogpt(learning_rate, budget) for learning_rate in asked.learning_rates]
    best = min(peers, key=lambda group: group.mean(what))
    target = best.mean(what)
    ours = [laboratory.nima(budget)] if asked.epochs else list(attempts(laboratory, asked, target, budget))
    ours.sort(key=lambda group: group.budget)
    Console(width=120).print(table([*peers, *ours], target, what))
    print(f"target: {target:.4f} bits per byte ({what}), {best.name}, {len(asked.seeds)} seed(s)")
    there = [group for group in ours if group.mean(what) <= target]
    if asked.epochs:
        print(reached_in(ours[0], target))
    else:
        print(verdict(best, there[0]) if there else "nima did not get there with any of these budgets")
    if asked.plot is not None:
        draw([*peers, *ours], target, asked.plot)
    if asked.json is not None:
        kept = [{"name": group.name, "budget": group.budget, "runs": group.runs} for group in [*peers, *ours]]
        asked.json.write_text(json.dumps({"target": target, "of": best.name, "what": what, "groups": kept}, indent=1))


if __name__ == "__main__":
    main()
