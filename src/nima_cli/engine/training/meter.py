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
    """Adds up steps on the device; `read` brings the figures to the host and starts over.

    Two windows are open at a time: one since the last log line, one since the last evaluation. A skipped step counts
    in neither.

    Attributes:
        train_seconds: of optimizer steps, over all resumes.
    """

    def __init__(self, device: Device, header: Mapping[str, Any]) -> None:
        """Go on where the header of a checkpoint left off; what it lacks starts at zero."""
        log, skipped = header.get("open_window", {}), header.get("refused", {})
        self._device = device
        self._log = _Window(device.device, log)
        self._eval = _Window(device.device, header.get("eval_window", {}))
        self._seconds = float(log.get("seconds", 0.0))
        self._in_a_row = torch.tensor(skipped.get("in_a_row", 0), dtype=torch.int64, device=device.device)
        self._skipped = torch.tensor(skipped.get("steps", 0), dtype=torch.int64, device=device.device)
        self._most_in_a_row = torch.zeros_like(self._in_a_row)
        self._grad_norm: torch.Tensor | None = None
        self.train_seconds = float(header.get("train_seconds", 0.0))
        self._began = time.perf_counter() - float(header.get("elapsed_seconds", 0.0))
        self._resumed = time.perf_counter()

    def add(self, outcome: StepOutcome) -> None:
        """Take one step; nothing here waits for the device."""
        skipped = outcome.skipped.long()
        for window in (self._log, self._eval):
            window.add(outcome, skipped)
        self._in_a_row = (self._in_a_row + 1) * skipped
        self._most_in_a_row = torch.maximum(self._most_in_a_row, self._in_a_row)
        self._skipped = self._skipped + skipped
        self._grad_norm = outcome.grad_norm

    def start(self) -> None:
        """Training goes on after something else."""
        self._resumed = time.perf_counter()

    def pause(self) -> None:
        """Training gives way to something else, whose time is not training's."""
        self._device.synchronize()
        now = time.perf_counter()
        self._seconds += now - self._resumed
        self.train_seconds += now - self._resumed
        self._resumed = now

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time of the block is not training's."""
        self.pause()
        yield
        self.start()

    @property
    def elapsed_seconds(self) -> float:
        """Everything since the run began, over all resumes."""
        return time.perf_counter() - self._began

    @property
    def skipped(self) -> int:
        """Steps of the run whose update was skipped; waits for the device."""
        return int(self._skipped.item())

    @property
    def skipped_in_a_row(self) -> int:
        """The most skipped in a row since this process began, with those just before it; waits for the device."""
        return int(self._most_in_a_row.item())

    def read(self) -> tuple[float, float, float]:
        """(mean loss, last gradient norm, tokens per second) since the last read; then starts over.

        The mean is NaN where every step was skipped.
        """
        assert self._grad_norm is not None, "read after at least one step"
        self.pause()
        loss, tokens = self._log.read()
        figures = (loss, self._grad_norm.item(), tokens / max(self._seconds, 1e-9))
        self._log, self._seconds = _Window(self._device.device), 0.0
        self.start()
        return figures

    def read_evaluation_window(self) -> float:
        """Mean loss of the steps since the last evaluation, in nats per token; then starts over."""
        loss, _ = self._eval.read()
        self._eval = _Window(self._device.device)
        return loss

    def forget_skipped(self) -> None:
        """The run takes another turn: earlier skipped steps are no longer just before the next one."""
        self._in_a_row.zero_()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to log the same; strict JSON."""
        return {
            "open_window": {**self._log.state(), "seconds": self._seconds},
            "eval_window": self._eval.state(),
            "refused": {"in_a_row": int(self._in_a_row.item()), "steps": self.skipped},
        }


class _Window:
    """A sum of losses and how many tokens it is over, on the device."""

    def __init__(self, device: torch.device, state: Mapping[str, float] | None = None) -> None:
        state = state or {}
        self._loss_sum = torch.tensor(state.get("loss_sum", 0.0), dtype=torch.float32, device=device)
        self._tokens = torch.tensor(int(state.get("tokens", 0)), dtype=torch.int64, device=device)

    def add(self, outcome: StepOutcome, skipped: torch.Tensor) -> None:
        self._loss_sum += torch.where(skipped.bool(), 0.0, outcome.loss_sum)
        self._tokens += (1 - skipped) * outcome.tokens

    def read(self) -> tuple[float, int]:
        """Mean loss (NaN over no tokens) and tokens."""
        tokens = int(self._tokens.item())
        return (self._loss_sum.item() / tokens if tokens else float("nan")), tokens

    def state(self) -> dict[str, float]:
        return {"loss_sum": self._loss_sum.item(), "tokens": int(self._tokens.item())}
