"""Means, rates and skipped steps of a run, with one wait for the device per log line."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from nima_cli.engine.device import Device
from nima_cli.engine.training.step import StepOutcome

PATIENCE = 3  # skipped steps in a row after which a run has diverged


class Meter:
    """Adds up the steps since the last log line and since the last evaluation, on the device; skips count in neither.

    `train_seconds` and `elapsed_seconds` run over all resumes.
    """

    def __init__(self, device: Device, header: Mapping[str, Any]) -> None:
        """Go on where the header of a checkpoint left off, or start at zero."""
        skipped = header.get("refused", {})
        self._device = device
        self._sums = {name: self._restore(header.get(name, {})) for name in ("open_window", "eval_window")}
        self._seconds = float(header.get("open_window", {}).get("seconds", 0.0))
        self._in_a_row = torch.tensor(skipped.get("in_a_row", 0), dtype=torch.int64, device=device.device)
        self._skipped = torch.tensor(skipped.get("steps", 0), dtype=torch.int64, device=device.device)
        self._most_in_a_row = torch.zeros_like(self._in_a_row)
        self._grad_norm: torch.Tensor | None = None
        self.train_seconds = float(header.get("train_seconds", 0.0))
        self._began = time.perf_counter() - float(header.get("elapsed_seconds", 0.0))
        self._resumed = time.perf_counter()

    def add(self, outcome: StepOutcome) -> None:
        """Count one step without waiting for the device."""
        skipped = outcome.skipped.long()
        for loss_sum, tokens in self._sums.values():
            loss_sum += torch.where(skipped.bool(), 0.0, outcome.loss_sum)
            tokens += (1 - skipped) * outcome.tokens
        self._in_a_row = (self._in_a_row + 1) * skipped
        self._most_in_a_row = torch.maximum(self._most_in_a_row, self._in_a_row)
        self._skipped = self._skipped + skipped
        self._grad_norm = outcome.grad_norm

    def start(self) -> None:
        """Start the clock of training."""
        self._resumed = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock of training for the block."""
        self._device.synchronize()
        seconds = time.perf_counter() - self._resumed
        self._seconds += seconds
        self.train_seconds += seconds
        yield
        self.start()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    @property
    def skipped(self) -> int:
        """Skipped steps of the run; waits for the device."""
        return int(self._skipped.item())

    @property
    def skipped_in_a_row(self) -> int:
        """The most skipped in a row since this process began, with those just before it; waits for the device."""
        return int(self._most_in_a_row.item())

    def read(self) -> tuple[float, float, float]:
        """(mean loss, last gradient norm, tokens per second) since the last read; NaN where every step was skipped."""
        assert self._grad_norm is not None, "read after at least one step"
        with self.paused():
            loss, tokens = self._take("open_window")
            figures = (loss, self._grad_norm.item(), tokens / max(self._seconds, 1e-9))
            self._seconds = 0.0
        return figures

    def read_evaluation_window(self) -> float:
        """Mean loss in nats per token since the last evaluation."""
        return self._take("eval_window")[0]

    def forget_skipped(self) -> None:
        """After a rollback, earlier skipped steps no longer come just before the next one."""
        self._in_a_row.zero_()

    def state(self) -> dict[str, Any]:
        """The part of a checkpoint's header that `Meter` goes on from."""
        sums = {
            name: {"loss_sum": loss_sum.item(), "tokens": int(tokens.item())}
            for name, (loss_sum, tokens) in self._sums.items()
        }
        return {
            "open_window": {**sums["open_window"], "seconds": self._seconds},
            "eval_window": sums["eval_window"],
            "refused": {"in_a_row": int(self._in_a_row.item()), "steps": self.skipped},
        }

    def _restore(self, saved: Mapping[str, float]) -> tuple[torch.Tensor, torch.Tensor]:
        """A sum of losses and the tokens that it is over, on the device."""
        loss_sum = torch.tensor(saved.get("loss_sum", 0.0), dtype=torch.float32, device=self._device.device)
        return loss_sum, torch.tensor(int(saved.get("tokens", 0)), dtype=torch.int64, device=self._device.device)

    def _take(self, name: str) -> tuple[float, int]:
        """Mean loss (NaN over no tokens) and tokens of a sum, which starts over."""
        loss_sum, tokens = (total.item() for total in self._sums[name])
        self._sums[name] = self._restore({})
        return (loss_sum / tokens if tokens else float("nan")), int(tokens)
