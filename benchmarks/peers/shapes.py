"""The sizes that every program is built to, and tokens for it to learn from."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes; each program chooses the width of its own MLP."""

    layers: int
    width: int
    heads: int
    context: int


SHAPES = {"gpt-tiny": Shape(4, 256, 4, 512), "gpt-small": Shape(12, 768, 12, 512)}


def arguments() -> argparse.ArgumentParser:
    """What every trainer is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="a dataset that `nima data prepare` made")
    parser.add_argument("--shape", choices=SHAPES, default="gpt-tiny")
    parser.add_argument("--micro-batch", type=int, default=16, help="rows that go through the model at once")
    parser.add_argument("--rows", type=int, default=16, help="rows in an optimizer step")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps in a turn")
    parser.add_argument("--vocabulary", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser


def synchronize(device: str) -> None:
    """Wait for queued work, so that a clock read after it is honest."""
    if device == "cuda":
        torch.cuda.synchronize()


class Windows:
    """Random windows of a split, as nanoGPT draws them."""

    def __init__(self, data: Path, context: int, *, seed: int = 0) -> None:
        self._ids = np.memmap(data / "train.bin", dtype=np.uint16, mode="r")
        self._context = context
        self._generator = np.random.default_rng(seed)

    def draw(self, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, int64 `[rows, context]` each."""
        starts = self._generator.integers(len(self._ids) - self._context - 1, size=rows)
        taken = torch.from_numpy(
            np.stack([self._ids[start : start + self._context + 1] for start in starts]).astype(np.int64)
        )
        return taken[:, :-1].contiguous(), taken[:, 1:].contiguous()
