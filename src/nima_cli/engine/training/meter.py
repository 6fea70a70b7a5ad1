"""Means, rates and refusals over steps, with one wait for the device per log line; knows no events."""

import time
from typing import Any

import torch

from nima_cli.engine.device import Device
from nima_cli.engine.training.step import StepOutcome

PATIENCE = 3  # refused steps in a row after which a run has diverged


class Meter:
    """Adds up steps on the device; `read` brings the figures to the host and starts over.

    Two windows are open at a time: one since the last log line, one since the last evaluation. A refused step counts
    in neither.
    """

    def __init__(self, device: Device, *, train_seconds: float = 0.0, elapsed_seconds: float = 0.0) -> None:
        self._device = device
        self.train_seconds = train_seconds
        self._began = time.perf_counter() - elapsed_seconds
        self._resumed = time.perf_counter()
        self._log, self._eval = _Window(device.device), _Window(device.device)
        self._in_a_row = torch.zeros((), dtype=torch.int64, device=device.device)
        self._most_in_a_row = self._in_a_row.clone()
        self._refused = self._in_a_row.clone()
        self._seconds = 0.0
        self._last: StepOutcome | None = None

    def add(self, outcome: StepOutcome) -> None:
        """Take one step; nothing here waits for the device."""
        refused = outcome.skipped.long()
        for window in (self._log, self._eval):
            window.add(outcome, refused)
        self._in_a_row = (self._in_a_row + 1) * refused
        self._most_in_a_row = torch.maximum(self._most_in_a_row, self._in_a_row)
        self._refused = self._refused + refused
        self._last = outcome

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

    @property
    def elapsed_seconds(self) -> float:
        """Everything since the run began, over all resumes."""
        return time.perf_counter() - self._began

    @property
    def refused(self) -> int:
        """Steps of the run whose update was refused; waits for the device."""
        return int(self._refused.item())

    @property
    def refused_in_a_row(self) -> int:
        """The longest row of them since this process began, with those just before it; waits for the device."""
        return int(self._most_in_a_row.item())

    def read(self) -> tuple[float, float, float]:
        """(mean loss, last gradient norm, tokens per second) since the last read; then starts over.

        The mean is NaN where every step was refused.
        """
        assert self._last is not None, "read after at least one step"
        self.pause()
        loss, tokens = self._log.read()
        figures = (loss, self._last.grad_norm.item(), tokens / max(self._seconds, 1e-9))
        self._log, self._seconds = _Window(self._device.device), 0.0
        return figures

    def since_evaluation(self) -> float:
        """Mean loss of the steps since the last evaluation, in nats per token; waits for the device."""
        return self._eval.read()[0]

    def evaluated(self) -> None:
        """An evaluation is done: its window starts over."""
        self._eval = _Window(self._device.device)

    def forget_row(self) -> None:
        """The run takes another turn: earlier refusals are no longer just before the next step."""
        self._in_a_row.zero_()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to log the same; strict JSON."""
        return {
            "open_window": {**self._log.state(), "seconds": self._seconds},
            "eval_window": self._eval.state(),
            "refused": {"in_a_row": int(self._in_a_row.item()), "steps": self.refused},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` left off; what a checkpoint of an earlier version lacks starts at zero."""
        if "open_window" in state:
            self._log.load_state(state["open_window"])
            self._seconds = float(state["open_window"]["seconds"])
        if "eval_window" in state:
            self._eval.load_state(state["eval_window"])
        if "refused" in state:
            self._in_a_row.fill_(state["refused"]["in_a_row"])
            self._refused.fill_(state["refused"]["steps"])


class _Window:
    """A sum of losses and how many tokens it is over, on the device."""

    def __init__(self, device: torch.device) -> None:
        self._loss_sum = torch.zeros((), dtype=torch.float32, device=device)
        self._tokens = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, outcome: StepOutcome, refused: torch.Tensor) -> None:
        self._loss_sum += torch.where(refused.bool(), 0.0, outcome.loss_sum)
        self._tokens += (1 - refused) * outcome.tokens

    def read(self) -> tuple[float, int]:
        """Mean loss (NaN over no tokens) and tokens."""
        tokens = int(self._tokens.item())
        return (self._loss_sum.item() / tokens if tokens else float("nan")), tokens

    def state(self) -> dict[str, float]:
        return {"loss_sum": self._loss_sum.item(), "tokens": int(self._tokens.item())}

    def load_state(self, state: dict[str, float]) -> None:
        self._loss_sum.fill_(state["loss_sum"])
        self._tokens.fill_(int(state["tokens"]))
