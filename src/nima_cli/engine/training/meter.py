"""Means and rates between two log lines, with one wait for the device per line; knows no events."""

import time

import torch

from nima_cli.engine.device import Device
from nima_cli.engine.training.ranks import Ranks
from nima_cli.engine.training.step import StepOutcome

PATIENCE = 3  # refused steps in a row after which a run has diverged
FP16_PATIENCE = 20  # float16 refuses steps while it looks for its loss scale: 17 halvings take 65536 below 1


class Meter:
    """Adds up steps on the device; `read` brings the figures to the host and starts over."""

    def __init__(
        self,
        device: Device,
        ranks: Ranks,
        *,
        train_seconds: float = 0.0,
        elapsed_seconds: float = 0.0,
        patience: int = PATIENCE,
    ) -> None:
        self._device, self._ranks = device, ranks
        self.patience = patience
        self.train_seconds = train_seconds
        self._began = time.perf_counter() - elapsed_seconds
        self._resumed = time.perf_counter()
        self._loss_sum = torch.zeros((), dtype=torch.float32, device=device.device)
        self._refused_in_a_row = torch.zeros((), device=device.device)
        self._most_refused = torch.zeros((), device=device.device)
        self._tokens = 0
        self._seconds = 0.0
        self._last: StepOutcome | None = None

    def add(self, outcome: StepOutcome) -> None:
        """Take one step; nothing here waits for the device."""
        healthy = 1.0 - outcome.skipped
        self._loss_sum += torch.where(outcome.skipped.bool(), 0.0, outcome.loss_sum)
        self._refused_in_a_row = (self._refused_in_a_row + 1.0) * (1.0 - healthy)
        self._most_refused = torch.maximum(self._most_refused, self._refused_in_a_row)
        self._tokens += outcome.tokens
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
    def diverged(self) -> bool:
        """Whether too many steps in a row were refused; waits for the device."""
        return bool(self._most_refused.item() >= self.patience)

    def window(self) -> dict[str, float]:
        """The steps since the last read, over all processes, so that a resumed run logs the same mean."""
        loss_sum = self._loss_sum.clone()
        self._ranks.sum_tensors_([loss_sum])
        return {"loss_sum": loss_sum.item(), "tokens": self._tokens, "seconds": self._seconds}

    def reopen_window(self, window: dict[str, float]) -> None:
        """Go on where `window` left off."""
        self._loss_sum.fill_(window["loss_sum"])
        self._seconds = float(window["seconds"])
        self._tokens = int(window["tokens"])

    def read(self) -> tuple[float, float, float]:
        """(mean loss, last gradient norm, tokens per second) since the last read; then starts over."""
        assert self._last is not None, "read after at least one step"
        self.pause()
        loss_sum = self._loss_sum.clone()
        self._ranks.sum_tensors_([loss_sum])
        figures = (
            loss_sum.item() / max(1, self._tokens),
            self._last.grad_norm.item(),
            self._tokens / max(self._seconds, 1e-9),
        )
        self._loss_sum.zero_()
        self._tokens, self._seconds = 0, 0.0
        return figures
