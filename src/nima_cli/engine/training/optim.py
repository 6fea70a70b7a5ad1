"""Muon and AdamW over named parameters, as one optimizer, and the moving average of what they change.

Muon (K. Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks") replaces a matrix's momentum by
its nearest semi-orthogonal matrix, found with a few Newton-Schulz steps. Its update is scaled by 0.2 sqrt(max(rows,
columns)) so that its size matches AdamW's and one learning rate serves both (Moonlight, 2502.16982). Embeddings, heads
and norms are AdamW's (1711.05101).

With several processes each orthogonalises its share of the matrices and keeps their momentum; the updates are gathered,
so that all take the same step. AdamW's part is small and every process does all of it.

Both honour `skipped`: a 0-d tensor on the parameters' device; where it is 1 the step changes nothing, so a non-finite
gradient never reaches a weight and the host need not wait to know.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd.graph import increment_version
from torch.optim.adamw import adamw

from nima_cli.config.schema import TrainingConfig
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.orthogonal import orthogonalize
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks

MUON_MOMENTUM = 0.85
ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-10
# Embedding rows see few gradients and are many: they want larger steps than hidden matrices at Muon's scale.
EMBEDDING_LR_FACTOR = 6.0

Named = list[tuple[str, nn.Parameter]]


class Muon:
    """Muon, which updates all matrices of one shape in a few large products; `momenta` holds this process's share."""

    def __init__(
        self, named: Named, decay: float, dtype: torch.dtype, kernels: Kernels | None = None, ranks: Ranks = SINGLE
    ) -> None:
        self.decay, self.dtype, self.kernels, self.ranks = decay, dtype, kernels, ranks
        self.groups: dict[torch.Size, Named] = {}
        for name, parameter in named:
            self.groups.setdefault(parameter.shape, []).append((name, parameter))
        self.momenta = {
            shape: torch.zeros(len(ranks.shard_range(len(group))), *shape, device=group[0][1].device)
            for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, learning_rate: float, skipped: torch.Tensor) -> None:
        """One update from the parameters' `.grad`; does nothing where `skipped` is 1. Every process must call it."""
        if skipped.device.type == "cpu" and skipped.item():  # elsewhere the host would have to wait to know
            return
        go = 1.0 - skipped
        for shape, group in self.groups.items():
            updates_KMN = self.ranks.gather(self._updates(shape, skipped), len(group))
            updates_KMN *= -(learning_rate * 0.2 * math.sqrt(max(shape))) * go
            parameters: list[torch.Tensor] = [parameter for _, parameter in group]
            torch._foreach_mul_(parameters, 1.0 - learning_rate * self.decay * go)
            torch._foreach_add_(parameters, updates_KMN.unbind())

    def _updates(self, shape: torch.Size, skipped: torch.Tensor) -> torch.Tensor:
        """The directions `[K, M, N]` of this process's share of one shape; moves its momentum."""
        mine = self.ranks.shard_range(len(self.groups[shape]))
        momentum_KMN = self.momenta[shape]
        if not mine:
            return momentum_KMN
        grads_KMN = torch.stack([_gradient(parameter) for _, parameter in self.groups[shape][mine.start : mine.stop]])
        if skipped.device.type != "cpu":
            grads_KMN = torch.where(skipped.bool(), 0.0, grads_KMN)
        momentum_KMN.lerp_(grads_KMN, (1.0 - MUON_MOMENTUM) * (1.0 - skipped))
        return orthogonalize(grads_KMN.lerp_(momentum_KMN, MUON_MOMENTUM), self.dtype, self.kernels)

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Parameter name to its `momentum`; every process must call it."""
        found = {}
        for shape, group in self.groups.items():
            momenta_KMN = self.ranks.gather(self.momenta[shape], len(group))
            for (name, _), momentum in zip(group, momenta_KMN, strict=True):
                found[name] = {"momentum": momentum}
        return found

    def load_state(self, state: dict[str, dict[str, torch.Tensor]]) -> None:
        """Take this process's share of what `state` gave; extra names are another optimizer's."""
        for shape, group in self.groups.items():
            mine = self.ranks.shard_range(len(group))
            for index, (name, _) in enumerate(group[mine.start : mine.stop]):
                self.momenta[shape][index].copy_(state[name]["momentum"])


class AdamW:
    """AdamW with torch's own update, addressed by parameter name.

    The update is called directly: `torch.optim.AdamW` imports torch's compiler at its first step, which takes seconds.
    """

    def __init__(self, groups: list[tuple[Named, float, float]], *, fused: bool) -> None:
        """Make an optimizer of groups: (named parameters, factor on the learning rate, weight decay)."""
        self.groups, self.fused = groups, fused
        self.moments = {
            name: {
                "step": torch.zeros((), device=parameter.device if fused else "cpu"),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
            for named, _, _ in groups
            for name, parameter in named
        }

    @torch.no_grad()
    def step(self, learning_rate: float, skipped: torch.Tensor) -> None:
        """One update from the parameters' `.grad`; does nothing where `skipped` is 1."""
        if not self.fused and skipped.item():  # the fused kernel looks by itself
            return
        for named, factor, decay in self.groups:
            moments = [self.moments[name] for name, _ in named]
            parameters: list[torch.Tensor] = [parameter for _, parameter in named]
            adamw(
                parameters,
                [_gradient(parameter) for _, parameter in named],
                [moment["exp_avg"] for moment in moments],
                [moment["exp_avg_sq"] for moment in moments],
                [],
                [moment["step"] for moment in moments],
                fused=self.fused,
                found_inf=skipped if self.fused else None,
                amsgrad=False,
                beta1=ADAM_BETAS[0],
                beta2=ADAM_BETAS[1],
                lr=learning_rate * factor,
                weight_decay=decay,
                eps=ADAM_EPSILON,
                maximize=False,
            )
            increment_version(parameters)  # the fused kernel does not: who keeps something made of them would not see

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Parameter name to `exp_avg`, `exp_avg_sq` and `step`."""
        return {name: dict(kept) for name, kept in self.moments.items()}

    def load_state(self, state: dict[str, dict[str, torch.Tensor]]) -> None:
        """Take back what `state` gave; extra names are another optimizer's."""
        for name, kept in self.moments.items():
            for key, tensor in state.get(name, {}).items():
                kept[key].copy_(tensor)


class Optimizer:
    """The optimizer of a run: Muon with AdamW for the rest, or AdamW alone."""

    def __init__(
        self, model: GPT, training: TrainingConfig, kernels: Kernels | None = None, ranks: Ranks = SINGLE
    ) -> None:
        decay, embedding_decay = training.weight_decay, training.embedding_weight_decay
        assert decay is not None
        assert embedding_decay is not None
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        matrices = [(n, p) for n, p in named if p.ndim == 2 and n.startswith("layers.")]
        tables = [(n, p) for n, p in named if p.ndim == 2 and not n.startswith("layers.")]
        norms = [(n, p) for n, p in named if p.ndim != 2]
        fused = named[0][1].device.type in ("cpu", "cuda")
        self.muon: Muon | None = None
        if training.optimizer == "muon":
            # bfloat16 where the run computes in it; float16's range is too small for the iteration's squares.
            dtype = torch.bfloat16 if model.compute_dtype is torch.bfloat16 else torch.float32
            self.muon = Muon(matrices, decay, dtype, kernels, ranks)
            self.adamw = AdamW([(tables, EMBEDDING_LR_FACTOR, embedding_decay), (norms, 1.0, 0.0)], fused=fused)
        else:
            groups = [(matrices, 1.0, decay), (tables, 1.0, embedding_decay), (norms, 1.0, 0.0)]
            self.adamw = AdamW(groups, fused=fused)
        self._parts: list[Muon | AdamW] = [self.adamw] if self.muon is None else [self.muon, self.adamw]
        self.parameters = [parameter for _, parameter in named]
        self.learning_rate = 0.0

    def step(self, learning_rate: float, skipped: torch.Tensor) -> None:
        """Update every parameter from its gradient at this learning rate, then drop the gradients."""
        self.learning_rate = learning_rate
        for part in self._parts:
            part.step(learning_rate, skipped)
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Parameter name to its tensors, as a checkpoint keeps them; every process must call it."""
        return {name: kept for part in self._parts for name, kept in part.state().items()}

    def load_state(self, state: dict[str, dict[str, torch.Tensor]]) -> None:
        """Take back what `state` gave."""
        for part in self._parts:
            part.load_state(state)


class Ema:
    """Exponential moving average of what is trained (Polyak and Juditsky, 1992), kept in float32 beside the model.

    The decay grows with the step, min(decay, (1 + step) / (10 + step)), so that the first, random weights are soon
    forgotten; it depends on the step alone, which keeps a resumed run exact. torch's `AveragedModel` has one decay for
    all steps and copies the whole module.
    """

    def __init__(self, model: GPT, decay: float) -> None:
        self.decay = decay
        self._parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
        self._averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step` (the first is 1)."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._averages.values()), list(self._parameters.values()), weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Exchange weights and averages for the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._averages[name] = self._averages[name], parameter.data

    def state(self) -> dict[str, torch.Tensor]:
        """Parameter name to its average."""
        return dict(self._averages)

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""
        for name, average in self._averages.items():
            average.copy_(state[name])


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None, "every matrix takes part in the loss"
    return parameter.grad
