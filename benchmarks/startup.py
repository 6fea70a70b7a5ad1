"""Seconds until nima does something: help, shell completion, and the first training step after Enter.

    python benchmarks/startup.py [--data DATA] [--rounds 5] [--json FILE]

Help stands beside `python -c "import typer, rich.console"`, which any program of its kind pays; all commands run in
turns. The first step is that of `nima train --preset gpt-tiny`: a real process, whose `metrics.jsonl` is watched until
it has the row of the first step. Once on a machine that has never run it, with an empty NIMA_HOME and nothing compiled,
and then again. Without `--data` the user brings no documents: the first time, preparing the built-in ones is part of
it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

_POLL = 0.005  # seconds
_PATIENCE = 600.0
_WORDS = "nima train --le"

COMMANDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "python": (["-c", "pass"], {}),
    "python, typer and rich": (["-c", "import typer, rich.console"], {}),
    "nima --help": (["-m", "nima_cli", "--help"], {}),
    "nima train --help": (["-m", "nima_cli", "train", "--help"], {}),
    "nima completion": (
        ["-c", "import sys; sys.argv[0] = 'nima'; from nima_cli.cli.app import main; main()"],
        {
            "_NIMA_COMPLETE": "complete_bash", "COMP_WORDS": _WORDS, "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": _WORDS,
        },
    ),
}  # fmt: skip


def quick(rounds: int) -> dict[str, list[float]]:
    """Seconds of each short command, in turns."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, (arguments, variables) in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], env={**os.environ, **variables}, capture_output=True, check=True
            )
            found[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in found.items()}  # the first round reads files from the disk


def first_step(data: Path | None, home: Path, run: Path) -> float:
    """Seconds from the start of `nima train` to the row of its first step; the process is then ended."""
    named = [f"--data={data.resolve()}"] if data is not None else []
    settings = ["--set=training.log_steps=1", "--max-steps=1000", f"--output-dir={run}"]
    variables = {"NIMA_HOME": str(home), "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor")}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "nima_cli", "train", "--preset=gpt-tiny", *named, *settings],
        env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while time.perf_counter() - began < _PATIENCE:
            if _has_step(run / "metrics.jsonl"):
                return time.perf_counter() - began
            if process.poll() is not None:
                sys.exit(f"`nima train` ended with {process.returncode}\n{process.communicate()[1][-2000:]}")
            time.sleep(_POLL)
        sys.exit(f"`nima train` took no step in {_PATIENCE:.0f} s")
    finally:
        process.kill()
        process.communicate()


def _has_step(metrics: Path) -> bool:
    try:
        return '"event": "step"' in metrics.read_text("utf-8")
    except OSError:
        return False


def first_steps(data: Path | None, rounds: int) -> dict[str, list[float]]:
    """The first time, and later ones."""
    of = "nima train to the first step"
    with tempfile.TemporaryDirectory() as work:
        seconds = [first_step(data, Path(work) / "home", Path(work) / str(number)) for number in range(rounds + 1)]
    return {f"{of}, first time": seconds[:1], f"{of}, later": seconds[1:]}


def table(found: Mapping[str, Sequence[float]]) -> Table:
    """What people look at."""
    shown = Table("", "median", "least", "most", box=None, pad_edge=False)
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, seconds in found.items():
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        shown.add_row(name, *(f"{figure:.3f} s" for figure in figures))
    return shown


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, help="a prepared dataset; without it, the built-in documents")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = quick(asked.rounds) | first_steps(asked.data, max(1, asked.rounds // 2))
    Console(width=120).print(table(found))
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
