"""What a run takes from the machine's memory beside what `nima train --dry-run` says that it will: on a CPU."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

NIMA = (sys.executable, "-m", "nima_cli", "train", "--device", "cpu")
INT8, BF16, TORCH = (), ("training.use_mixed_precision=bf16",), ("hardware.compiler=none",)
FLOAT32 = ("training.use_mixed_precision=false",)
CASES = (
    ("gpt-tiny", 4, INT8), ("gpt-tiny", 32, INT8), ("gpt-tiny", 32, BF16), ("gpt-tiny", 32, FLOAT32),
    ("gpt-tiny", 32, (*TORCH, *BF16)), ("gpt-tiny", 32, (*TORCH, *FLOAT32)),
    ("gpt-tiny", 4, ("model.context_length=2048",)), ("gpt-tiny", 32, ("training.optimizer=adamw",)),
    ("gpt-small", 1, INT8), ("gpt-small", 4, INT8), ("gpt-small", 2, (*TORCH, *BF16)), ("gpt-small", 2, FLOAT32),
)  # fmt: skip
QUICK = ("evaluation.generation.enabled=false", "evaluation.max_tokens=8192", "monitoring.plots=false")


def main() -> None:
    """Print a line for each case: predicted, taken, and the one over the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a prepared dataset")
    data: Path = parser.parse_args().data
    print("| preset | rows | settings | predicted, MB | taken, MB | |\n|---|---|---|---|---|---|")
    for preset, rows, keys in CASES:
        chosen = [f"--set={key}" for key in (*keys, *QUICK, f"training.batch_size={rows}", "training.max_steps=2")]
        arguments = ("--preset", preset, "--data", str(data), *chosen)
        predicted, taken = predict(arguments), take(arguments)
        print(
            f"| {preset} | {rows} | {' '.join(keys)} | {predicted / 1e6:,.0f} | {taken / 1e6:,.0f} | "
            f"{predicted / taken:.2f} |",
            flush=True,
        )


def predict(arguments: tuple[str, ...]) -> int:
    """What the plan says."""
    done = subprocess.run([*NIMA, *arguments, "--dry-run", "--json"], check=True, capture_output=True)
    return int(json.loads(done.stdout)["memory_bytes"])


def take(arguments: tuple[str, ...]) -> int:
    """The most that a run of two steps, an evaluation and two saves had in memory."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([*NIMA, *arguments, "--output-dir", f"{folder}/run", "--quiet"])
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"training failed: {arguments}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
