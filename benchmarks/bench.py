"""Everything that can be measured here, one script after the other, into one table and one plot: `make bench`.

    python benchmarks/bench.py [--quick] [--only PART ...] [--data DATA] [--text PATH] [--nanogpt FOLDER]
                               [--litgpt FOLDER] [--llama-node FOLDER] [--out bench]

Whoever is absent is left out, and the table says so. The parts are processes of their own, and what each found is kept
under `--out`: with `--only`, the others stand in the table as they were. `--quick` takes a few minutes and proves that
everything runs; its figures are no claim. What each part does is said in the script that does it.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from drawing import Bars, draw_bars
from export_parity import has_llama_cpp

HERE = Path(__file__).resolve().parent
NIMA = [sys.executable, "-m", "nima_cli"]
BUILTIN = ["--source", "builtin:python-docs"]
RUNS = {"gpt-tiny": "run", "gpt-small": "run-gpt-small"}  # folders under `--out` of the models that parts use

Found = Any  # what a script wrote as JSON
Cells = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One thing that is measured.

    Attributes:
        command: what measures it; writes JSON to `<out>/raw/<name>.json`.
        header: of its columns.
        to_rows: from what was found to cells.
        to_bars: what the plot shows of it, or None.
        absent: why it cannot run, or None.
        may_fail: exit codes that are results.
    """

    name: str
    title: str
    command: Sequence[str]
    header: Cells
    to_rows: Callable[[Found], Iterator[Cells]]
    to_bars: Callable[[Found], Bars] | None = None
    absent: str | None = None
    may_fail: tuple[int, ...] = ()


def mega(size: float) -> str:
    """Bytes for people, or nothing where the system did not say."""
    return f"{size / 1e6:,.0f} MB" if size else ""


def speed_rows(found: Found) -> Iterator[Cells]:
    """Tokens a second, of training and of decoding, where nima's best with weights of the same size stands for nima."""
    best: dict[float, float] = {}
    for row in found["rows"]:
        if row["name"].startswith("nima"):
            best[row["limit"]] = max(row["speed"], best.get(row["limit"], 0.0))
    for row in found["rows"]:
        alike = None if row["name"].startswith("nima") else best.get(row["limit"])
        times = row.get("times") or (alike / row["speed"] if alike else None)
        yield (
            row["name"], f"{row['speed']:,.0f}", f"{row['slowest']:,.0f}..{row['fastest']:,.0f}",
            f"{times:.2f}" if times else "", f"{row['limit']:,.0f}", f"{row['speed'] / row['limit']:.0%}",
            f"{row['first']:.1f} s", mega(row["peak"]),
        )  # fmt: skip


def speed_bars(title: str) -> Callable[[Found], Bars]:
    """The same, drawn."""
    return lambda found: Bars(title, "tokens a second", {row["name"]: row["speed"] for row in found["rows"]})


def learning_rows(found: Found) -> Iterator[Cells]:
    """Each run, the mean of its seeds."""
    for group in found["groups"]:
        mean = {key: sum(run[key] for run in group["runs"]) / len(group["runs"]) for key in LEARNT}
        reached = " *" if group["name"] == "nima" and mean["final"] <= found["target"] else ""
        yield (
            group["name"], f"{mean['tokens']:,.0f}", f"{mean['final']:.4f}{reached}", f"{mean['seconds']:.1f} s",
            f"{mean['compiling']:.1f} s", f"{mean['setup']:.1f} s", mega(mean["peak"]),
        )  # fmt: skip


LEARNT = ("tokens", "final", "seconds", "compiling", "setup", "peak")


def learning_bars(found: Found) -> Bars:
    """Seconds of the shortest run of each that reaches the target."""
    seconds: dict[str, float] = {}
    for group in found["groups"]:
        final, took = (sum(run[key] for run in group["runs"]) / len(group["runs"]) for key in ("final", "seconds"))
        if final <= found["target"]:
            seconds[group["name"]] = min(took, seconds.get(group["name"], took))
    ordered = dict(sorted(seconds.items(), key=lambda item: not item[0].startswith("nima")))
    return Bars(f"Time to {found['target']:.3f} bits per byte", "seconds of training", ordered)


def preparation_rows(found: Found) -> Iterator[Cells]:
    """nima, which does all of it, and the peer, which trains a tokenizer and encodes."""
    for name, key in (("nima data prepare", "nima"), ("tokenizers: train and encode only", "peer")):
        times = f"{found['peer'] / found['nima']:.2f}" if key == "peer" else ""
        rate = found["characters"] / 1e6 / found[key]
        yield name, f"{found[key]:.1f} s", f"{rate:.2f}", times, mega(found[f"{key}_peak"])


def startup_rows(found: Found) -> Iterator[Cells]:
    """Medians."""
    for name, seconds in found.items():
        yield name, f"{statistics.median(seconds):.3f} s", f"{min(seconds):.3f}..{max(seconds):.3f} s"


def growth_rows(found: Found) -> Iterator[Cells]:
    """One line a size."""
    for row in found:
        ready = row["opening"] + row["splitting"] + row["first_batch"]
        yield mega(row["size"]), f"{ready:.3f} s", mega(row["private"]), f"{row['speed']:,.0f}", mega(row["peak"])


def xz_rows(found: Found) -> Iterator[Cells]:
    """Both."""
    for name in ("nima", "xz -9"):
        yield name, f"{found[name]:.3f}"


def parts(asked: argparse.Namespace, data: Path) -> Iterator[Part]:
    """All of them, in the order of the table."""
    quick = asked.quick
    yield from training_parts(asked, data)
    yield learning_part(asked, data)
    yield Part(
        "xz", f"Bits per byte after {'60 steps' if quick else 'one epoch'} of gpt-tiny",
        script(asked, "xz", "against_xz.py", str(asked.out / "run"), str(data)), ("", "bits per byte"), xz_rows,
        may_fail=(1,),
    )  # fmt: skip
    yield from decoding_parts(asked)
    sources = ["--text-files", str(asked.text)] if asked.text else BUILTIN
    yield Part(
        "preparation", "Preparing documents", script(asked, "preparation", "prepare.py", last=["--", *sources]),
        ("", "time", "million characters/s", "nima, times as fast", "memory"), preparation_rows,
        absent=None if find_spec("tokenizers") else "tokenizers is not installed",
    )  # fmt: skip
    told = ["--rounds", "2" if quick else "5", *(["--data", str(asked.data)] if asked.data else [])]
    yield Part(
        "startup", "Starting", script(asked, "startup", "startup.py", *told),
        ("", "median", "least..most"), startup_rows,
    )  # fmt: skip
    size = ["--sizes", "1e6", "1e8", "--rounds", "2", "--steps", "1"] if quick else ["--rounds", "3"]
    yield Part(
        "growth", "Larger datasets", script(asked, "growth", "growth.py", str(data), *size),
        ("token ids", "to the first rows", "memory of its own", "training tokens/s", "peak with mapped files"),
        growth_rows,
    )  # fmt: skip


SPEED: Cells = (
    "",
    "tokens/s",
    "slowest..fastest",
    "nima, times as fast",
    "limit",
    "of limit",
    "first turn",
    "memory",
)


def training_parts(asked: argparse.Namespace, data: Path) -> Iterator[Part]:
    """Throughput of both sizes."""
    peers = [
        text for name in ("nanogpt", "litgpt") if getattr(asked, name) for text in (f"--{name}", getattr(asked, name))
    ]
    few = ["--rows", "4", "--micro-batch", "4", "--steps", "1"]
    sizes = {"gpt-tiny": [*few, "--rounds", "2", "--no-compiled"] if asked.quick else []}
    sizes["gpt-small"] = ["--rows", "32", "--micro-batch", "8", "--steps", "1", "--rounds", "2"]
    for number, (shape, told) in enumerate(sizes.items()):
        if number:  # a step of the preset takes a minute and more; all of them would take most of the time
            told += [
                text for name in ("nima", "nanoGPT", "HF Trainer bf16 compiled", "litgpt bf16 compiled")
                for text in ("--only", name)
            ]  # fmt: skip
        yield Part(
            f"training-{shape}", f"Training {shape}",
            script(asked, f"training-{shape}", "throughput.py", str(data), "--shape", shape, *map(str, peers), *told),
            SPEED, speed_rows, speed_bars(f"Training {shape}"),
            absent="left out of the quick run" if asked.quick and number else None,
        )  # fmt: skip


def decoding_parts(asked: argparse.Namespace) -> Iterator[Part]:
    """One stream of both sizes: one fits into the processor's caches, the other is read from memory."""
    llama = ["--llama-node", str(asked.llama_node)] if asked.llama_node else []
    size = ["--tokens", "32", "--rounds", "2"] if asked.quick else []
    for shape, run in RUNS.items():
        name, title = f"decoding-{shape}", f"Decoding, one stream of {shape}"
        yield Part(
            name, title, script(asked, name, "decoding.py", str(asked.out / run), *llama, *size), SPEED, speed_rows,
            speed_bars(title), absent="left out of the quick run" if asked.quick and shape != "gpt-tiny" else None,
        )  # fmt: skip


def learning_part(asked: argparse.Namespace, data: Path) -> Part:
    """Time to a figure; nanoGPT with what was the best of its three learning rates, as each takes ten minutes."""
    size = ["--steps", "400", "--learning-rates", "2e-3"]
    if asked.quick:
        size = ["--steps", "8", "--learning-rates", "1e-3", "--tokens", "16384", "32768", "--no-compile"]
    told = [str(data), "--nanogpt", str(asked.nanogpt), "--out", str(asked.out / "learning"), *size]
    return Part(
        "learning", "Time and tokens to a given bits per byte", script(asked, "learning", "learning.py", *told),
        ("", "tokens", "bits per byte", "training", "compiling", "set-up", "memory"), learning_rows, learning_bars,
        absent=None if asked.nanogpt else "no nanoGPT: name a checkout (`make bench NANOGPT=folder`)",
    )  # fmt: skip


def script(asked: argparse.Namespace, part: str, name: str, *told: str, last: Sequence[str] = ()) -> list[str]:
    """A command that writes what it found."""
    return [sys.executable, str(HERE / name), *told, "--json", str(raw(asked, part)), *last]


def raw(asked: argparse.Namespace, part: str) -> Path:
    """Where what a part found is kept."""
    path: Path = asked.out / "raw" / f"{part}.json"
    return path


def absentees(asked: argparse.Namespace) -> Iterator[str]:
    """Who does not take part, and what would change that."""
    if asked.nanogpt is None:
        yield "nanoGPT: name a checkout (`make bench NANOGPT=folder`)"
    if asked.litgpt is None:
        yield "litgpt: `pip install --no-deps --target folder -r benchmarks/litgpt.txt`, `make bench LITGPT=folder`"
    if not find_spec("transformers") or not find_spec("accelerate"):
        yield "transformers: `pip install 'nima[bench]'`"
    if not has_llama_cpp(asked.llama_node):
        yield "llama.cpp: `npm install --prefix folder node-llama-cpp`, then `make bench LLAMA_NODE=folder`"


def run(part: Part, asked: argparse.Namespace) -> str | None:
    """Measure; returns why there is nothing, or None."""
    if part.absent:
        return part.absent
    print(f"{part.title} ...", flush=True)
    began = time.perf_counter()
    raw(asked, part.name).unlink(missing_ok=True)
    log = asked.out / "raw" / f"{part.name}.log"
    with log.open("w") as stream:
        done = subprocess.run(part.command, stdout=stream, stderr=subprocess.STDOUT, check=False)
    print(log.read_text()[-4000:], flush=True)
    print(f"({time.perf_counter() - began:.0f} s)\n", flush=True)
    if done.returncode and done.returncode not in part.may_fail:
        return f"failed with {done.returncode}; see `{log}`"
    return None


def make_runs(asked: argparse.Namespace, data: Path, wanted: Sequence[Part]) -> None:
    """What the parts use: gpt-tiny after an epoch, and gpt-small after a step, as only its speed is looked at."""
    names = {part.name for part in wanted if part.absent is None}
    if names & {"xz", "decoding-gpt-tiny"}:
        make_run(asked, data, "gpt-tiny", "--epochs", "1", *(["--max-steps", "60"] if asked.quick else []))
    if "decoding-gpt-small" in names:
        make_run(asked, data, "gpt-small", "--max-steps", "1")


def make_run(asked: argparse.Namespace, data: Path, preset: str, *length: str) -> None:
    """Train, unless an earlier run is to be kept."""
    folder = asked.out / RUNS[preset]
    if folder.exists() and (folder / "checkpoint_last.pt").exists() and not asked.fresh_run:
        return
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    command = [*NIMA, "train", "--preset", preset, *length, "--data", str(data), "--output-dir", str(folder)]
    subprocess.run([*command, "--set=evaluation.generation.enabled=false"], check=True)


def machine() -> str:
    """What was measured on, without names."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("nima", "torch", "transformers") if find_spec_of(name)
    )
    return f"{cpu}, {os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}, {versions}"


def find_spec_of(distribution: str) -> bool:
    """Whether it is installed."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def report(asked: argparse.Namespace, every: Sequence[Part], left_out: dict[str, str]) -> str:
    """The table file."""
    lines = [
        "# nima and its peers", "", f"{datetime.now(UTC):%Y-%m-%d}, {machine()}.",
        "Medians of turns; a limit is what this machine's matrix products, or its memory when decoding, would allow.",
    ]  # fmt: skip
    if asked.quick:
        lines += ["", "**A quick run: it proves that everything works, and its figures are no claim.**"]
    for part in every:
        lines += ["", f"## {part.title}", ""]
        found = raw(asked, part.name)
        if not found.exists():
            lines.append(f"Left out: {left_out.get(part.name, 'not asked for')}.")
            continue
        lines += ["| " + " | ".join(cells) + " |" for cells in (part.header, ("---",) * len(part.header))]
        lines += ["| " + " | ".join(cells) + " |" for cells in part.to_rows(json.loads(found.read_text()))]
    lines += ["", "## Who did not take part", "", *([f"- {line}" for line in absentees(asked)] or ["Nobody."]), ""]
    return "\n".join(lines)


def draw(asked: argparse.Namespace, every: Sequence[Part]) -> None:
    """All that has bars, in one picture."""
    groups = [
        part.to_bars(json.loads(raw(asked, part.name).read_text()))
        for part in every
        if part.to_bars is not None and raw(asked, part.name).exists()
    ]
    groups = [group for group in groups if group.values]
    if groups:
        draw_bars(groups, asked.out / "bench.png")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few minutes; no claim")
    parser.add_argument("--only", action="append", metavar="PART", help="this part, and others so named")
    parser.add_argument("--data", type=Path, help="a prepared dataset; by default of the built-in documents")
    parser.add_argument("--text", type=Path, help="documents to time preparation with; by default the built-in ones")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--litgpt", type=Path, help="a folder that litgpt was installed into")
    parser.add_argument("--llama-node", type=Path, help="a folder with node_modules/node-llama-cpp")
    parser.add_argument("--keep-run", dest="fresh_run", action="store_false", help="use the models of the last time")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    return parser


def main() -> None:
    """Measure, and write the table and the plot anew after each part, so that one that is ended leaves them."""
    asked = arguments().parse_args()
    (asked.out / "raw").mkdir(parents=True, exist_ok=True)
    data: Path = asked.data or asked.out / "data"
    if not (data / "dataset_metadata.json").exists():
        subprocess.run([*NIMA, "data", "prepare", *BUILTIN, "--output-dir", str(data)], check=True)
    every = list(parts(asked, data))
    unknown = set(asked.only or ()) - {part.name for part in every}
    if unknown:
        sys.exit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in every)}")
    wanted = [part for part in every if not asked.only or part.name in asked.only]
    make_runs(asked, data, wanted)
    left_out: dict[str, str] = {}
    for part in wanted:
        problem = run(part, asked)
        if problem is not None:
            left_out[part.name] = problem
            print(f"{part.title}: left out: {problem}", flush=True)
        (asked.out / "bench.md").write_text(report(asked, every, left_out))
        draw(asked, every)
    print(f"{asked.out / 'bench.md'} and {asked.out / 'bench.png'}")


if __name__ == "__main__":
    main()
