"""Cross-entropy from hidden states without ever holding all logits.

The logits of a batch are its largest tensor: at 49,152 tokens of vocabulary and 4096 tokens a step, 805 MB in float32.
Here some hundred positions at a time are projected, turned into loss and into gradients at once, and forgotten, in the
manner of Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models" (2411.09009).

Axis letters: N positions · C width · V vocabulary
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.quantized import quantized_cross_entropy

IGNORE = -100  # target of a position that carries no loss
_EXACT = 4  # bytes of a logit in evaluations
# Positions whose logits are held at once: the most, and the most bytes of them. Each chunk reads the output matrix and
# adds to its gradient, whatever the vocabulary. On a CPU more than 512 positions gain nothing, 256 make the loss 6 %
# and 128 17 % slower (49,152 tokens of vocabulary, 2048 positions).
_MOST_POSITIONS, _MOST_BYTES = {True: 512, False: 8192}, {True: 64 << 20, False: 128 << 20}
_CPU_ROWS = 64  # whose softmax stays in a core's own cache


def linear_cross_entropy(
    h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor, kernels: Kernels | None = None
) -> torch.Tensor:
    """Sum of the cross-entropy, in nats, over positions whose target is not `IGNORE`.

    Args:
        h_NC: hidden states, in the compute type.
        head_VC: output matrix; its gradient comes back in its own type.
        kernels: compute the softmax where they support the device and type.

    Returns:
        A float32 scalar that backward can go through once.
    """
    if kernels is not None and not kernels.supports(h_NC.device, h_NC.dtype):
        kernels = None
    loss: torch.Tensor = _LinearCrossEntropy.apply(h_NC, head_VC, targets_N, kernels)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """Forward computes the gradients of the sum too; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any, h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor, kernels: Kernels | None
    ) -> torch.Tensor:
        ctx.head_dtype, frozen = head_VC.dtype, not ctx.needs_input_grad[1]
        if kernels is not None and kernels.int8:
            total, *found = quantized_cross_entropy(h_NC, head_VC, targets_N, kernels, ignored=IGNORE)
            ctx.save_for_backward(*found)
            return total
        cast_VC = head_VC.to(h_NC.dtype)
        total = torch.zeros((), dtype=torch.float32, device=h_NC.device)
        grad_h_NC = torch.empty_like(h_NC)
        size = (0, 0) if frozen else head_VC.shape
        grad_head_VC = torch.zeros(size, dtype=torch.float32, device=head_VC.device)
        for part in _chunks(h_NC, len(head_VC), h_NC.element_size()):
            grad_logits_NV = F.linear(h_NC[part], cast_VC)
            if kernels is not None:
                total += kernels.cross_entropy_(grad_logits_NV, targets_N[part], ignored=IGNORE).sum()
            else:
                total += _to_gradient_(grad_logits_NV, targets_N[part])
            torch.mm(grad_logits_NV, cast_VC, out=grad_h_NC[part])
            if frozen:
                continue
            grad_part_VC = grad_logits_NV.t() @ h_NC[part]
            if kernels is not None:
                kernels.accumulate_(grad_head_VC, grad_part_VC)
            else:
                grad_head_VC += grad_part_VC
        ctx.save_for_backward(grad_h_NC, grad_head_VC)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        grad_h_NC, grad_head_VC = ctx.saved_tensors
        scale = grads[0]  # in place: another copy of the head's gradient would cost as much as the softmax
        of_head = grad_head_VC.mul_(scale).to(ctx.head_dtype) if ctx.needs_input_grad[1] else None
        return grad_h_NC.mul_(scale.to(grad_h_NC.dtype)), of_head, None, None


def _to_gradient_(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Turn logits into softmax minus one-hot, zero where ignored; returns the loss sum."""
    loss = torch.zeros((), dtype=torch.float32, device=logits_NV.device)
    rows = _CPU_ROWS if logits_NV.device.type == "cpu" else len(logits_NV)
    for part_NV, targets in zip(torch.split(logits_NV, rows), torch.split(targets_N, rows), strict=True):
        valid_N1 = (targets != IGNORE).unsqueeze(1)
        safe_N1 = targets.clamp_min(0).unsqueeze(1)
        exact_NV = part_NV.float()
        greatest_N1, chosen_N1 = exact_NV.amax(dim=1, keepdim=True), exact_NV.gather(1, safe_N1)
        probs_NV = torch.softmax(exact_NV, dim=1)
        # The greatest logit's own probability is one over the softmax's sum, and never so small that it underflows.
        log_sum_N1 = greatest_N1 - probs_NV.amax(dim=1, keepdim=True).log()
        loss += ((log_sum_N1 - chosen_N1) * valid_N1).sum()
        probs_NV.scatter_add_(1, safe_N1, torch.full_like(chosen_N1, -1.0))
        torch.mul(probs_NV, valid_N1, out=part_NV)
    return loss


@torch.no_grad()
def losses_and_correct(
    h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For evaluation: losses in nats, zero without a target, and whether predictions were right; some at a time."""
    cast_VC = head_VC.to(h_NC.dtype)
    for part in _chunks(h_NC, len(head_VC), _EXACT):
        logits_NV = F.linear(h_NC[part], cast_VC).float()
        losses_N = F.cross_entropy(logits_NV, targets_N[part], ignore_index=IGNORE, reduction="none")
        yield losses_N, logits_NV.argmax(dim=-1) == targets_N[part]


def loss_and_correct(
    h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss sum (float64, so on the CPU), and how many most likely tokens were right."""
    loss = torch.zeros((), dtype=torch.float64)
    n_correct = torch.zeros((), dtype=torch.int64, device=h_NC.device)
    for losses_N, correct_N in losses_and_correct(h_NC, head_VC, targets_N):
        loss += losses_N.cpu().double().sum()  # in two steps: one would convert where the numbers are
        n_correct += correct_N.sum()
    return loss, n_correct


def positions_at_once(vocabulary: int, bytes_per_logit: int, *, on_cpu: bool) -> int:
    """How many positions have their logits in memory at the same time."""
    return max(1, min(_MOST_POSITIONS[on_cpu], _MOST_BYTES[on_cpu] // (vocabulary * bytes_per_logit)))


def _chunks(h_NC: torch.Tensor, vocabulary: int, bytes_per_logit: int) -> list[slice]:
    size = positions_at_once(vocabulary, bytes_per_logit, on_cpu=h_NC.device.type == "cpu")
    return [slice(start, start + size) for start in range(0, h_NC.shape[0], size)]
