"""Causal attention for training on a CPU, by blocks of queries.

torch's CPU kernel always computes in float32, and its backward pass takes three times as long as its matrix products.
Here these are batched products in the input's type, and blocks above the diagonal are skipped.

Axis letters: N sequences and heads · T time · D head width
"""

from typing import Any

import torch

from nima_cli.engine.kernels.kernels import Kernels

_BLOCK = 128  # queries; larger ones compute more that is masked, smaller ones make slow matrix products


def blocked_attention(
    q_NTD: torch.Tensor, k_NTD: torch.Tensor, v_NTD: torch.Tensor, *, kernels: Kernels | None = None
) -> torch.Tensor:
    """Causal attention `[N, T, D]` of queries that have been scaled."""
    out_NTD: torch.Tensor = _BlockedAttention.apply(q_NTD, k_NTD, v_NTD, kernels)  # type: ignore[no-untyped-call]
    return out_NTD


def kept_numbers(time: int) -> int:
    """How many probabilities one head keeps for the backward pass of a sequence of this length."""
    ends = [min(start + _BLOCK, time) for start in range(0, time, _BLOCK)]
    return sum((end - start) * end for start, end in zip([0, *ends], ends, strict=False))


class _BlockedAttention(torch.autograd.Function):
    """Holds scores and their gradients for one block of queries at a time, and keeps all probabilities."""

    @staticmethod
    def forward(
        ctx: Any, q_NTD: torch.Tensor, k_NTD: torch.Tensor, v_NTD: torch.Tensor, kernels: Kernels | None
    ) -> torch.Tensor:
        softmax_ = _causal_softmax if kernels is None else kernels.causal_softmax_
        out_NTD, probs = torch.empty_like(q_NTD), []
        for start in range(0, q_NTD.shape[1], _BLOCK):
            end = min(start + _BLOCK, q_NTD.shape[1])
            probs.append(softmax_(torch.bmm(q_NTD[:, start:end], k_NTD[:, :end].mT)))
            torch.bmm(probs[-1], v_NTD[:, :end], out=out_NTD[:, start:end])
        ctx.save_for_backward(q_NTD, k_NTD, v_NTD, *probs)
        ctx.kernels = kernels
        return out_NTD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q_NTD, k_NTD, v_NTD, *probs = ctx.saved_tensors
        gradient_ = _causal_softmax_gradient if ctx.kernels is None else ctx.kernels.causal_softmax_gradient_
        accumulate_ = torch.Tensor.add_ if ctx.kernels is None else ctx.kernels.accumulate_
        grad_NTD = grads[0]
        grad_q_NTD, start = torch.empty_like(q_NTD), 0
        grad_k_NTD, grad_v_NTD = (torch.zeros_like(x, dtype=torch.float32) for x in (k_NTD, v_NTD))
        for probs_NSE in probs:
            end = start + probs_NSE.shape[1]
            grad_NSD = grad_NTD[:, start:end]
            accumulate_(grad_v_NTD[:, :end], torch.bmm(probs_NSE.mT, grad_NSD))
            grad_scores_NSE = gradient_(probs_NSE, torch.bmm(grad_NSD, v_NTD[:, :end].mT))
            torch.bmm(grad_scores_NSE, k_NTD[:, :end], out=grad_q_NTD[:, start:end])
            accumulate_(grad_k_NTD[:, :end], torch.bmm(grad_scores_NSE.mT, q_NTD[:, start:end]))
            start = end
        return grad_q_NTD, grad_k_NTD.to(k_NTD.dtype), grad_v_NTD.to(v_NTD.dtype), None


def _causal_softmax(scores_NSE: torch.Tensor) -> torch.Tensor:
    """Softmax of each row; the last of the S rows sees all columns, each before it one less."""
    rows, columns = scores_NSE.shape[1:]
    hidden_SS = torch.ones(rows, rows, dtype=torch.bool, device=scores_NSE.device).triu_(1)
    exact_NSE = scores_NSE.float()
    exact_NSE[:, :, columns - rows :].masked_fill_(hidden_SS, float("-inf"))
    return torch.softmax(exact_NSE, dim=-1).to(scores_NSE.dtype)


def _causal_softmax_gradient(probs_NSE: torch.Tensor, grad_NSE: torch.Tensor) -> torch.Tensor:
    """The scores' gradient from that of the probabilities: p (dp - sum of p dp)."""
    weighted_NSE = grad_NSE.float() * probs_NSE
    mean_NS1 = weighted_NSE.sum(dim=-1, keepdim=True)
    return weighted_NSE.addcmul_(probs_NSE, mean_NS1, value=-1.0).to(probs_NSE.dtype)
