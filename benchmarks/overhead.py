"""What watching a run costs: events, logging and loggers, on against off in turns within one run of gpt-tiny.

    python benchmarks/overhead.py DATASET [--block 100] [--blocks 6] [--check 2.0]

DATASET is a prepared dataset. Blocks of steps with everything on (log lines, terminal, metrics.jsonl, log file,
TensorBoard, plots) alternate with blocks with nothing, each ends with an evaluation and its text samples, and their
medians are compared. Evaluations, samples and saves themselves are in neither. Where the time goes is also counted
directly, which is the steadier number on a machine that does other things, too; what is paid once in a run, such as the
import of matplotlib with the first figure, stands apart. `--check` makes it fail above so many percent.
"""

import argparse
import contextlib
import dataclasses
import io
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from nima_cli.cli.event_handlers import run_event_handlers
from nima_cli.cli.home import compiled
from nima_cli.config.load import load_config
from nima_cli.config.schema import Config
from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.engine.device import keep_freed_memory, pick_device
from nima_cli.engine.kernels.trust import trusted_kernels
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.engine.training.run_spec import make_run_spec
from nima_cli.engine.training.trainer import Trainer
from nima_cli.events import EvalDone, Event, EventHandler, RunStarted, SampleDrawn, Saved

NEVER = 10**9


def make_config(block: int, blocks: int) -> Config:
    """gpt-tiny as `nima train` makes it, with an evaluation at the end of each block and as few saves as can be."""
    config = load_config(None, preset="gpt-tiny", environ={}).config
    training = config.training.model_dump() | {
        "epochs": 10000.0, "max_steps": block * blocks, "eval_steps": block, "save_steps": block * blocks,
    }  # fmt: skip
    training["early_stopping"]["enabled"] = False
    return Config.model_validate({**config.model_dump(), "training": training})


def measure(
    dataset: Path, run_dir: Path, block: int, blocks: int
) -> tuple[list[float], list[float], dict[str, float], float, float]:
    """Seconds a step in the blocks with everything on, in those with nothing, and in each part; seconds paid once.

    At last the seconds that the samples of one evaluation take.
    """
    config = make_config(block, blocks)
    device = pick_device(config.hardware.device, config.training.use_mixed_precision)
    kernels = trusted_kernels(device, config, compiled(), linear_cross_entropy).kernels
    keep_freed_memory()
    opened = open_dataset(dataset)
    trainer = Trainer(make_run_spec(config, opened), opened, run_dir, device, kernels=kernels)
    watched, blind = trainer.plan, dataclasses.replace(trainer.plan, log_steps=NEVER)
    views = run_event_handlers(config.monitoring, run_dir, resumed_step=None, history=run_dir, quiet=False)
    seconds = {True: [0.0] * (blocks + 1), False: [0.0] * (blocks + 1)}
    once: dict[str, float] = defaultdict(float)
    later: dict[str, float] = defaultdict(float)
    samples = 0.0
    began = time.perf_counter()
    for event in trainer.run():
        came = time.perf_counter()
        number = (trainer.step - 1) // block if trainer.step else 0
        on, spent = number % 2 == 0, later if number else once
        trainer.plan = watched if on else blind
        if isinstance(event, SampleDrawn):
            samples += came - began
        elif not isinstance(event, EvalDone | Saved | RunStarted):
            seconds[on][number] += came - began
        if on:
            seconds[on][number] += show(event, views, spent)
        began = time.perf_counter()
    for view in views:
        view.close()
    # The first block of each kind warms up caches, imports and allocators.
    return (
        [total / block for total in seconds[True][2:blocks:2]],
        [total / block for total in seconds[False][3:blocks:2]],
        {name: total / ((blocks - 1) // 2 * block) for name, total in later.items()},
        sum(once.values()),
        samples / (blocks + 1),
    )


def show(event: Event, views: list[EventHandler], spent: dict[str, float]) -> float:
    """Give an event to every view; returns the seconds that it took."""
    began = last = time.perf_counter()
    for view in views:
        view(event)
        now = time.perf_counter()
        spent[name_of(view)] += now - last
        last = now
    return last - began


def name_of(view: EventHandler) -> str:
    """What a view is, also inside its guard."""
    return type(getattr(view, "_view", view)).__name__


def main() -> None:
    """Measure, print, and fail when there is a limit and it is passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--block", type=int, default=100, help="steps in a block, which is how often to evaluate")
    parser.add_argument("--blocks", type=int, default=6, help="at least 4; half of them with everything on")
    parser.add_argument("--check", type=float, metavar="PERCENT", help="fail above this")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        on, off, spent, once, samples = measure(arguments.dataset, Path(folder), arguments.block, arguments.blocks)
    step, compared = statistics.median(off), statistics.median(on) / statistics.median(off) - 1
    print(f"a step with nothing on: {1000 * step:.1f} ms (median of {len(off)} blocks of {arguments.block} steps)")
    print(f"a step with everything on: {1000 * statistics.median(on):.1f} ms, {100 * compared:+.2f}%")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {name:16} {1e6 * seconds:8.0f} us a step, {100 * seconds / step:.2f}%")
    counted = sum(spent.values()) / step
    print(f"counted directly: {100 * counted:.2f}%; in the first block {once:.1f} s")
    print(f"the text samples of one evaluation, in neither: {samples:.2f} s")
    if arguments.check is not None and 100 * counted > arguments.check:
        sys.exit(f"more than {arguments.check:g}%")


if __name__ == "__main__":
    main()
