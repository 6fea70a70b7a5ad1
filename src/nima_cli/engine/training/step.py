"""One optimizer step: accumulate gradients, refuse what is not finite, clip, update; knows no files and no events."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nima_cli.engine.data.dataset import Batch
from nima_cli.engine.device import Device, seed_dropout
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.loss import IGNORE, linear_cross_entropy
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.ranks import Ranks


@dataclass(slots=True)
class LossScale:
    """Dynamic loss scale for float16 (1710.03740): halve on overflow, double after a calm while."""

    value: float = 65536.0
    calm_steps: int = 0
    growth_interval: int = 2000

    def update(self, overflow: bool) -> None:
        """Take the outcome of one step."""
        if overflow:
            self.value, self.calm_steps = self.value / 2, 0
            return
        self.calm_steps += 1
        if self.calm_steps == self.growth_interval:
            self.value, self.calm_steps = self.value * 2, 0


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step found, still on the device, so that nobody waits for it.

    Attributes:
        loss_sum: nats summed over this process's tokens.
        tokens: positions that carried loss, over all processes.
        grad_norm: of the whole gradient, before clipping.
        skipped: 1 where the update was refused because the gradient was not finite.
    """

    loss_sum: torch.Tensor
    tokens: int
    grad_norm: torch.Tensor
    skipped: torch.Tensor


class TrainStep:
    """Turns micro-batches into one update of the weights.

    The gradient is that of the mean loss over all tokens of all micro-batches of all processes, so that accumulation
    and the number of processes do not change it.
    """

    def __init__(
        self, model: GPT, optimizer: Optimizer, device: Device, ranks: Ranks, *, seed: int, max_grad_norm: float
    ) -> None:
        self.model, self.optimizer, self.device, self.ranks = model, optimizer, device, ranks
        self.seed = seed
        self.max_grad_norm = max_grad_norm
        self.loss_scale = LossScale() if device.dtype is torch.float16 else None

    def __call__(self, micro_batches: Sequence[Batch], *, step: int, learning_rate: float) -> StepOutcome:
        """Run optimizer step `step` (the first is 1)."""
        self.model.train()
        tokens = self.ranks.sum_int(sum(int((batch.targets_BT != IGNORE).sum()) for batch in micro_batches))
        scale = self.loss_scale.value if self.loss_scale is not None else 1.0
        loss_sum = torch.zeros((), device=self.device.device)
        for micro, batch in enumerate(micro_batches):
            seed_dropout(self.seed, step, micro, self.ranks.rank)
            loss = self._loss(batch)
            (loss * (scale / max(1, tokens))).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
        grad_norm, skipped = self._finish_gradients(scale)
        self.optimizer.step(learning_rate, skipped)
        if self.loss_scale is not None:
            self.loss_scale.update(bool(skipped.item()))
        return StepOutcome(loss_sum, tokens, grad_norm, skipped)

    def _loss(self, batch: Batch) -> torch.Tensor:
        inputs_BT = batch.inputs_BT.to(self.device.device, non_blocking=True)
        targets_BT = batch.targets_BT.to(self.device.device, non_blocking=True)
        h_BTC = self.model.hidden(inputs_BT)
        return linear_cross_entropy(h_BTC.flatten(0, 1), self.model.head_weight_VC, targets_BT.flatten())

    def _finish_gradients(self, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum over processes, unscale, clip; returns the norm before clipping, and 1.0 if not finite, else 0.0."""
        gradients = [parameter.grad for parameter in self.optimizer.parameters]
        present = [gradient for gradient in gradients if gradient is not None]
        self.ranks.sum_tensors_(present)
        norms = torch.stack(torch._foreach_norm(present))
        grad_norm = torch.linalg.vector_norm(norms) / scale
        skipped = (~torch.isfinite(grad_norm)).float()
        factor = torch.full_like(grad_norm, 1.0 / scale)
        if self.max_grad_norm > 0:
            factor = factor * torch.clamp(self.max_grad_norm / (grad_norm + 1e-6), max=1.0)
        if self.max_grad_norm > 0 or scale != 1.0:
            torch._foreach_mul_(present, factor)
        return grad_norm, skipped
