"""The one evaluator that all learners are measured by, and the clock beside them; knows no program."""

import argparse
import json
import math
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from shapes import SHAPES

from nima_cli.engine.data.store.dataset import IGNORED, PreparedDataset

_TOKENS_PER_BATCH = 4096


def learner_arguments() -> argparse.ArgumentParser:
    """What every learner is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="a dataset that `nima data prepare` made")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes")
    parser.add_argument("--shape", choices=SHAPES, default="gpt-tiny")
    parser.add_argument("--tokens", type=int, required=True, help="to train with")
    parser.add_argument("--evaluations", type=int, default=1, help="spread over the run, the last at its end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--started", type=float, required=True, help="when the process was started, by `time.time()`")
    return parser


@torch.no_grad()
def bits_per_byte(
    logits_of: Callable[[torch.Tensor], torch.Tensor], dataset: PreparedDataset, context: int, *, split: str = "val"
) -> float:
    """Bits for each byte of text in a split: rows of one context that follow each other, every target once.

    Args:
        logits_of: from ids `[rows, context]` to logits `[rows, context, vocabulary]`.
    """
    part = dataset.split(split)
    bytes_V = torch.as_tensor(dataset.tokenizer.byte_lengths()).long()
    windows = range(part.windows(context))
    size = max(1, _TOKENS_PER_BATCH // context)
    nats, text_bytes = 0.0, 0
    for start in range(0, len(windows), size):
        batch = part.window_batch(windows[start : start + size], context)
        logits = logits_of(batch.inputs_BT).flatten(0, 1)
        targets_N = batch.targets_BT.flatten()
        losses_N = F.cross_entropy(logits.float(), targets_N, ignore_index=IGNORED, reduction="none")
        nats += losses_N.double().sum().item()
        text_bytes += int(bytes_V[targets_N[targets_N != IGNORED]].sum())
    return nats / math.log(2) / text_bytes


@dataclass
class Learnt:
    """One run.

    Attributes:
        setup: seconds from the start of the process to that of the first step.
        steps: seconds of each optimizer step; the first may hold the compiling.
        processor: processor seconds of all steps together.
        tokens: learned from, once the run is over.
        curve: (tokens, seconds of all steps so far, bits per byte) at each evaluation.
        final: bits per byte of what the program would ship at the end of the run.
        peak: bytes that the process held at most.
    """

    setup: float = 0.0
    steps: list[float] = field(default_factory=list)
    processor: float = 0.0
    tokens: int = 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    final: float = math.nan
    peak: int = 0

    def begin(self, started: float) -> None:
        """The first step is about to start."""
        self.setup = time.time() - started

    def evaluated(self, tokens: int, bits: float) -> None:
        """Note an evaluation."""
        self.curve.append((tokens, sum(self.steps), bits))
        self.tokens, self.final = tokens, bits

    def write(self, path: Path) -> None:
        """As JSON, with the compiling taken out of the steps."""
        self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        compiling = max(0.0, self.steps[0] - statistics.median(self.steps)) if len(self.steps) > 1 else 0.0
        best = min(bits for _, _, bits in self.curve)
        derived = {"seconds": sum(self.steps) - compiling, "compiling": compiling, "best": best}
        path.write_text(json.dumps({**asdict(self), **derived}))
