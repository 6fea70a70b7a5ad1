"""One optimizer step: accumulate gradients, skip what is not finite, clip, update."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nima_cli.config.schema import TrainingConfig
from nima_cli.engine.data.store.dataset import Batch
from nima_cli.engine.device import Device
from nima_cli.engine.kernels.convert import recompute_layers
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks
from nima_cli.engine.training.loss import IGNORE, linear_cross_entropy
from nima_cli.engine.training.optim import Optimizer
from nima_cli.engine.training.planning.out_of_memory import is_out_of_memory, release


@dataclass(slots=True)
class LossScale:
    """Dynamic loss scale for float16 (1710.03740): halve on overflow, double after a stretch without overflow."""

    value: float = 65536.0
    calm_steps: int = 0
    growth_interval: int = 2000

    @property
    def is_lost(self) -> bool:
        """Whether gradients overflow even unscaled: float16 cannot hold this run."""
        return self.value < 1.0

    def update(self, overflow: bool) -> None:
        """Adapt to the outcome of one step."""
        if overflow:
            self.value, self.calm_steps = self.value / 2, 0
            return
        self.calm_steps += 1
        if self.calm_steps == self.growth_interval:
            self.value, self.calm_steps = self.value * 2, 0


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The results of a step, the same in every process, still on the device so that the host need not wait.

    Attributes:
        loss_sum: nats over all `tokens` that carry loss.
        grad_norm: before clipping.
        skipped: 1 where the loss or the gradient was not finite, else 0.
    """

    loss_sum: torch.Tensor
    tokens: int
    grad_norm: torch.Tensor
    skipped: torch.Tensor


class TrainStep:
    """Turns the batches of a step into one update of the weights.

    The gradient is that of the mean loss over all tokens of all batches of all processes: accumulation, the number of
    processes and `micro_batches`, which grow when memory runs out, change only how sums round.
    """

    def __init__(
        self,
        model: GPT,
        training: TrainingConfig,
        device: Device,
        *,
        kernels: Kernels | None = None,
        ranks: Ranks = SINGLE,
        micro_batches: int = 1,
        recompute: bool = False,
    ) -> None:
        self.model, self.device, self.kernels, self.ranks = model, device, kernels, ranks
        self.optimizer = Optimizer(model, training, kernels, ranks)
        self.seed, self.max_grad_norm = training.seed, training.max_grad_norm
        self.auto_batch, self.micro_batches = training.auto_batch, micro_batches
        self.recompute, self._may_recompute = recompute, training.recompute == "auto"
        if recompute:
            recompute_layers(model)
        self.loss_scale = LossScale() if device.dtype is torch.float16 else None

    def __call__(
        self, batches: Sequence[Batch], *, sequences: Sequence[Sequence[int]], learning_rate: float
    ) -> StepOutcome:
        """Run one optimizer step on this process's share of each batch; dropout depends on the sequences' numbers."""
        self.model.train()
        tokens = self.ranks.sum_int(sum(int((batch.targets_BT != IGNORE).sum()) for batch in batches))
        scale = self.loss_scale.value if self.loss_scale is not None else 1.0
        loss_sum = self._backward(batches, sequences, scale / max(1, tokens))
        grad_norm, skipped = self._finish_gradients(scale, loss_sum)
        self.optimizer.step(learning_rate, skipped)
        if self.loss_scale is not None:
            self.loss_scale.update(bool(skipped.item()))
        return StepOutcome(loss_sum, tokens, grad_norm, skipped)

    def _backward(self, batches: Sequence[Batch], sequences: Sequence[Sequence[int]], factor: float) -> torch.Tensor:
        """Leave the gradient in the parameters and return the loss sum, with less memory until it suffices."""
        largest = max(len(batch.inputs_BT) for batch in batches)
        while True:
            try:
                return self._accumulate(batches, sequences, factor)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not self._take_less(largest):
                    raise
            # Outside of the handler, whose error would keep the failed pass's tensors alive.
            for parameter in self.optimizer.parameters:
                parameter.grad = None
            release(self.device.device)

    def _take_less(self, largest: int) -> bool:
        """Halve micro-batches or, where they cannot be, compute layers twice from now on; returns whether it could."""
        if self.auto_batch and self.micro_batches < largest:
            self.micro_batches *= 2
        elif self._may_recompute and not self.recompute:
            self.recompute = True
            recompute_layers(self.model)
        else:
            return False
        return True

    def _accumulate(self, batches: Sequence[Batch], sequences: Sequence[Sequence[int]], factor: float) -> torch.Tensor:
        loss_sum = torch.zeros((), device=self.device.device)
        for batch, numbers in zip(batches, sequences, strict=True):
            size = -(-len(numbers) // self.micro_batches)
            for start in range(0, len(numbers), size):
                micro = slice(start, start + size)
                for drop in self.model.drops:
                    drop.seed(self.seed, numbers[micro], self.device.device)
                h_BTC = self.model.hidden(batch.inputs_BT[micro].to(self.device.device, non_blocking=True))
                targets_N = batch.targets_BT[micro].to(self.device.device, non_blocking=True).flatten()
                loss = linear_cross_entropy(h_BTC.flatten(0, 1), self.model.head_weight_VC, targets_N, self.kernels)
                (loss * factor).backward()  # type: ignore[no-untyped-call]
                loss_sum += loss.detach()
        return loss_sum

    def _finish_gradients(self, scale: float, loss_sum: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum over processes, unscale, clip; returns the norm before clipping, and 1.0 if not finite, else 0.0."""
        gradients = [parameter.grad for parameter in self.optimizer.parameters]
        present = [gradient for gradient in gradients if gradient is not None]
        self.ranks.sum_tensors_([*present, loss_sum])
        norms = torch.stack(torch._foreach_norm(present))
        grad_norm = torch.linalg.vector_norm(norms) / scale
        skipped = (~(torch.isfinite(grad_norm) & torch.isfinite(loss_sum))).float()
        factor = torch.full_like(grad_norm, 1.0 / scale)
        if self.max_grad_norm > 0:
            factor = factor * torch.clamp(self.max_grad_norm / (grad_norm + 1e-6), max=1.0)
        if self.max_grad_norm > 0 or scale != 1.0:
            torch._foreach_mul_(present, factor)
        return grad_norm, skipped
