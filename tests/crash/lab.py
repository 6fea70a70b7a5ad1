"""Runs of the real `nima train` in forked children of a process that has imported torch once, and what they must equal.

A child calls the program's own entry point; only importing, which takes seconds, is shared. The parent computes
nothing, so that there are no threads of torch to lose by forking.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nima_cli.cli.app import main as nima
from nima_cli.engine.checkpoint.file import Checkpoint, load
from nima_cli.engine.checkpoint.files import LAST, checkpoint_files, step_files
from nima_cli.engine.training import session, trainer  # noqa: F401  (what every child would import)
from tests.engine.training.runs import same_tensors

CONFIG = """\
model: {preset: null, n_layers: 1, d_model: 16, n_heads: 2, context_length: 32, dropout: 0.1}
training:
  {epochs: 50, max_steps: 8, batch_size: 2, gradient_accumulation_steps: 2, learning_rate: 0.01, eval_steps: 4,
   save_steps: 2, log_steps: 1, use_mixed_precision: false}
evaluation: {max_tokens: 512, generation: {enabled: false}}
monitoring: {tensorboard: false, plots: false}
hardware: {device: cpu}
"""
KILLED = -signal.SIGKILL
_OF_TIME = ("seconds", "tokens_per_second", "config", "path", "bytes")


class Lab:
    """A dataset, a folder to work in, and the undisturbed run, saved at every step, to compare all others with."""

    def __init__(self, data: Path, folder: Path, *, config: str = CONFIG) -> None:
        self.data, self.folder = data, folder
        self.config = folder / "lab.yaml"
        self.config.write_text(config, encoding="utf-8")
        self.run_dir = folder / "run"
        self.reference = folder / "reference"
        every_step = ("--set", "training.save_total_limit=1000", "--set", "training.save_steps=1")
        code = self.train(run_dir=self.reference, extra=every_step)
        assert code == 0, self.said()
        self.metrics = metrics(self.reference)
        self.last_step = int(load(self.reference / LAST).header["step"])

    def clear(self) -> None:
        """No run yet."""
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def start(
        self,
        *,
        run_dir: Path | None = None,
        extra: tuple[str, ...] = ("--resume", "auto"),
        prepare: Callable[[], None] = lambda: None,
        said: str = "said.txt",
        finish: Callable[[], None] = lambda: None,
    ) -> int:
        """A child that trains; returns its process id. `prepare` and `finish` run in it."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            stream = os.open(self.folder / said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            where = run_dir or self.run_dir
            sys.argv = ["nima", "train", "-c", str(self.config), "--data", str(self.data), "--output-dir", str(where)]
            sys.argv += ["--quiet", *extra]
            prepare()
            code = _exit_code(nima)
            finish()
        except KeyboardInterrupt:  # sent before the program had begun
            code = 130
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            os._exit(code)

    def train(self, **options: Any) -> int:
        """`start`, and wait; returns the exit code, or minus the signal that ended it."""
        return wait(self.start(**options))

    def said(self, name: str = "said.txt") -> str:
        """What the last child printed."""
        return (self.folder / name).read_text("utf-8", "replace")

    def valid_checkpoints(self) -> int:
        """How many files there are that load; each must be what the undisturbed run had at that step.

        From the second save on there are two.
        """
        valid = 0
        for path in checkpoint_files(self.run_dir):
            found = load(path)  # a name is only ever given to a whole file
            expected = self._at(int(found.header["step"]))
            assert same_tensors(tensors(found), tensors(expected)), f"{path.name} differs from the undisturbed run"
            valid += 1
        saves = sum(row["event"] == "saved" for row in rows(self.run_dir))
        assert valid >= min(2, saves), f"{valid} checkpoints after {saves} saves"
        return valid

    def finish_and_compare(self, *, judgements: bool = True) -> None:
        """Go on until the run is complete: it must have become the undisturbed one, with nothing left over."""
        code = self.train()
        assert code == 0, self.said()
        found, expected = load(self.run_dir / LAST), load(self.reference / LAST)
        assert same_tensors(tensors(found), tensors(expected)), "the weights differ from the undisturbed run"
        assert facts(found, judgements=judgements) == facts(expected, judgements=judgements)
        assert metrics(self.run_dir, judgements=judgements) == metrics(self.reference, judgements=judgements)
        litter = [path.name for path in self.run_dir.iterdir() if path.name.endswith(".tmp")]
        assert not litter, litter

    def _at(self, step: int) -> Checkpoint:
        files = step_files(self.reference)
        return load(files[step] if step in files else self.reference / LAST)


def wait(pid: int) -> int:
    """The exit code of a child, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tensors(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Everything that is computed with, by name."""
    state = {f"{name}/{key}": t for name, kept in (checkpoint.optimizer or {}).items() for key, t in kept.items()}
    return {**checkpoint.model, **state}


def facts(checkpoint: Checkpoint, *, judgements: bool) -> dict[str, Any]:
    """The header without times and what may differ; without `judgements` also without which step was the best."""
    without = {"config", *(() if judgements else ("best", "out_of_patience"))}
    kept = {key: value for key, value in checkpoint.header.items() if key not in without}
    return _timeless(kept)


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """`metrics.jsonl`, without a last line that a kill cut short."""
    path = run_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def metrics(run_dir: Path, *, judgements: bool = True) -> list[dict[str, Any]]:
    """The rows of steps and evaluations, exact, without times."""
    found = [_timeless(row) for row in rows(run_dir) if row["event"] in ("step", "eval")]
    for row in found:
        if not judgements:
            row.pop("best", None)
    return found


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key.endswith(_OF_TIME):
            continue
        found[key] = _timeless(value) if isinstance(value, dict) else value.hex() if type(value) is float else value
    return found


def _exit_code(program: Callable[[], None]) -> int:
    try:
        program()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
