"""A real gpt-tiny run, killed again and again, against the same run left alone: every loss must be the same number.

    python -m tests.crash.long_run DATASET FOLDER [--steps 60] [--context 256] [--kills 10]

Each part is a process of its own, started with `--resume auto`, which gets some steps further and is then killed at a
random instant: in a step, an evaluation, a save or a plot. Prints one line, and exits 1 on a difference.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from nima_cli.engine.checkpoint.file import load
from nima_cli.engine.checkpoint.files import LAST


def _command(arguments: argparse.Namespace, run_dir: Path) -> list[str]:
    keys = (f"model.context_length={arguments.context}", "training.save_steps=3", "training.log_steps=1",
            "training.eval_steps=10", "evaluation.max_tokens=4096", "evaluation.generation.max_length=8",
            "model.dropout=0.1", "hardware.device=cpu", "training.gradient_accumulation_steps=2")  # fmt: skip
    flags = [part for key in keys for part in ("--set", key)]
    run = ["--preset", "gpt-tiny", "--data", str(arguments.data), "--output-dir", str(run_dir), "--resume", "auto"]
    return [sys.executable, "-m", "nima_cli", "train", *run, "--max-steps", str(arguments.steps), "--quiet", *flags]


def _losses(run_dir: Path) -> dict[str, str]:
    """Step or evaluation to loss, exactly; a row that a kill cut short does not count."""
    found = {}
    path = run_dir / "metrics.jsonl"
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["event"] in ("step", "eval"):
            name = f"{row['event']} {row['step']}"
            assert name not in found, f"{name} is there twice"
            found[name] = float(row["loss"]).hex()
    return found


def _killed(command: list[str], run_dir: Path, until: int, seconds: float) -> bool:
    """One part of the run, killed some time after it has done step `until`; whether it was killed before its end."""
    process = subprocess.Popen(command)
    while process.poll() is None and _last_step(run_dir) < until:
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _last_step(run_dir: Path) -> int:
    return max((int(name.split()[1]) for name in _losses(run_dir) if name.startswith("step ")), default=0)


def main() -> int:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description="Kill a run again and again and compare it with one left alone.")
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    for name, value in (("--steps", 60), ("--context", 256), ("--kills", 10), ("--seed", 0)):
        parser.add_argument(name, type=int, default=value)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums round alike only with as many threads
    alone, often = arguments.folder / "undisturbed", arguments.folder / "killed"
    began = time.monotonic()
    subprocess.run(_command(arguments, alone), check=True)
    per_step = (time.monotonic() - began) / arguments.steps
    chance, until, killed_at = random.Random(arguments.seed), 0, []
    for kills in range(arguments.kills):
        until += chance.randint(1, max(1, arguments.steps // arguments.kills - 2))
        if not _killed(_command(arguments, often), often, until, chance.uniform(0, per_step)):
            print(f"the run ended after {kills} kills: give it more steps")
            return 1
        killed_at.append(_last_step(often))
    subprocess.run(_command(arguments, often), check=True)
    same_losses = _losses(alone) == _losses(often)
    first, second = load(alone / LAST), load(often / LAST)
    same_weights = all(torch.equal(tensor, second.model[name]) for name, tensor in first.model.items())
    last = _losses(often)[f"step {arguments.steps}"]
    print(
        f"{arguments.steps} steps, killed {arguments.kills} times, at steps {killed_at}: {len(_losses(often))} losses "
        f"{'identical' if same_losses else 'DIFFER'}, weights {'identical' if same_weights else 'DIFFER'}, "
        f"last loss {last}"
    )
    return 0 if same_losses and same_weights else 1


if __name__ == "__main__":
    raise SystemExit(main())
