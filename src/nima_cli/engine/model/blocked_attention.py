"""Causal attention for training on a CPU: a block of queries at a time, each against the keys that it may see.

torch's own CPU kernel computes in float32 whatever it is given, and its backward pass is three times as slow as the
products that it is made of. Here those products are batched matrix products in the type of the input, which a processor
with 16-bit instructions does at several times the speed, and what lies above the diagonal of blocks is never computed.
The probabilities are kept for the backward pass; `kept_numbers` counts them.

Axis letters: N sequences and heads · T time · D head width
"""

from typing import Any

import torch

_BLOCK = 128  # queries; larger ones compute more of what is masked, smaller ones starve the matrix products


def blocked_attention(q_NTD: torch.Tensor, k_NTD: torch.Tensor, v_NTD: torch.Tensor) -> torch.Tensor:
    """Softmax of q k^T below and on the diagonal, times v; `[N, T, D]`. The caller has scaled the queries."""
    out_NTD: torch.Tensor = _BlockedAttention.apply(q_NTD, k_NTD, v_NTD)  # type: ignore[no-untyped-call]
    return out_NTD


def kept_numbers(time: int) -> int:
    """Probabilities that one head of one sequence of this length keeps for the backward pass."""
    ends = [min(start + _BLOCK, time) for start in range(0, time, _BLOCK)]
    return sum((end - start) * end for start, end in zip([0, *ends], ends, strict=False))


class _BlockedAttention(torch.autograd.Function):
    """Scores and their gradients exist for one block of queries at a time."""

    @staticmethod
    def forward(ctx: Any, q_NTD: torch.Tensor, k_NTD: torch.Tensor, v_NTD: torch.Tensor) -> torch.Tensor:
        outs, probs = [], []
        for start in range(0, q_NTD.shape[1], _BLOCK):
            end = min(start + _BLOCK, q_NTD.shape[1])
            scores_NSE = torch.bmm(q_NTD[:, start:end], k_NTD[:, :end].mT).float()
            hidden_SS = torch.ones(end - start, end - start, dtype=torch.bool, device=q_NTD.device).triu_(1)
            scores_NSE[:, :, start:].masked_fill_(hidden_SS, float("-inf"))
            probs.append(torch.softmax(scores_NSE, dim=-1).to(q_NTD.dtype))
            outs.append(torch.bmm(probs[-1], v_NTD[:, :end]))
        out_NTD = torch.cat(outs, dim=1)
        ctx.save_for_backward(q_NTD, k_NTD, v_NTD, out_NTD, *probs)
        return out_NTD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q_NTD, k_NTD, v_NTD, out_NTD, *probs = ctx.saved_tensors
        grad_NTD = grads[0]
        # What the softmax's gradient subtracts from each row: sum of p dp, which is the output times its gradient.
        mean_NT1 = (grad_NTD.float() * out_NTD.float()).sum(dim=-1, keepdim=True)
        grad_q, start = [], 0
        grad_k_NTD, grad_v_NTD = (torch.zeros_like(x, dtype=torch.float32) for x in (k_NTD, v_NTD))
        for probs_NSE in probs:
            end = start + probs_NSE.shape[1]
            grad_NSD = grad_NTD[:, start:end]
            grad_v_NTD[:, :end] += torch.bmm(probs_NSE.mT, grad_NSD)
            grad_probs_NSE = torch.bmm(grad_NSD, v_NTD[:, :end].mT).float()
            grad_scores_NSE = grad_probs_NSE.sub_(mean_NT1[:, start:end]).mul_(probs_NSE).to(q_NTD.dtype)
            grad_q.append(torch.bmm(grad_scores_NSE, k_NTD[:, :end]))
            grad_k_NTD[:, :end] += torch.bmm(grad_scores_NSE.mT, q_NTD[:, start:end])
            start = end
        return torch.cat(grad_q, dim=1), grad_k_NTD.to(k_NTD.dtype), grad_v_NTD.to(v_NTD.dtype)
