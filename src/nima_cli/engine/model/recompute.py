"""Layers that are computed twice: only their inputs are kept for the backward pass (Chen et al., 1604.06174).

torch's own `checkpoint` imports its compiler and knows its own random numbers only, not those of `RowDropout`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from nima_cli.engine.model.dropout import RowDropout

Inputs = Sequence[torch.Tensor | None]
Run = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


def recomputed(run: Run, inputs: Inputs, parameters: Iterable[torch.Tensor], drops: Iterable[RowDropout]) -> Any:
    """`run(*inputs)`, run once more when its gradient is wanted; bit by bit what it gives without this.

    Args:
        run: must give the same for the same inputs, but for what it draws from `drops`.
        parameters: what it reads besides and gets a gradient.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return _Recomputed.apply(run, len(inputs), tuple(drops), *inputs, *trained)  # type: ignore[no-untyped-call]


class _Recomputed(torch.autograd.Function):
    """Runs in the same mode both times: what asks whether gradients are wanted computes the same."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, count: int, drops: tuple[RowDropout, ...], *tensors: torch.Tensor | None
    ) -> torch.Tensor | tuple[torch.Tensor, ...]:
        ctx.run, ctx.count, ctx.drops = run, count, drops
        ctx.states = [drop.states() for drop in drops]
        ctx.save_for_backward(*tensors)
        with torch.enable_grad():
            found = run(*_leaves(tensors[:count]))
        return found.detach() if isinstance(found, torch.Tensor) else tuple(each.detach() for each in found)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tensors = ctx.saved_tensors
        leaves = _leaves(tensors[: ctx.count])
        for drop, states in zip(ctx.drops, ctx.states, strict=True):
            drop.restore(states)
        with torch.enable_grad():
            found = ctx.run(*leaves)
        wanted = [each for each in (*leaves, *tensors[ctx.count :]) if each is not None and each.requires_grad]
        outputs = (found,) if isinstance(found, torch.Tensor) else found
        given = iter(torch.autograd.grad(outputs, wanted, grads))
        known = {id(each) for each in wanted}
        of_inputs = (next(given) if id(leaf) in known else None for leaf in leaves)
        return None, None, None, *of_inputs, *given


def _leaves(inputs: Inputs) -> list[torch.Tensor | None]:
    """The inputs cut off from what they came from."""
    return [each.detach().requires_grad_(each.requires_grad) if each is not None else None for each in inputs]
