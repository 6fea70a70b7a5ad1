"""The cross-entropy from hidden states with products of 8-bit integers; knows no model and no data.

What softmax minus one-hot is multiplied with comes in two parts. Probabilities are rounded to int8, up or down by
chance: most are far smaller than the greatest of their row and would be lost otherwise. The one-hot part needs no
product, and is exact.

Axis letters: N positions · C width · V vocabulary
"""

import torch

from nima_cli.engine.model.quantized import multiply
from nima_cli.engine.native.kernels import Kernels

_PROBABILITIES = 1 << 24  # to hold at once, a byte each
_LOGITS = 1 << 20  # of four bytes


def quantized_cross_entropy(
    h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor, kernels: Kernels, *, ignored: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum of the losses and its gradients: of `h_NC`, in its type, and in float32 of `head_VC`."""
    total, grad_h_NC, grad_head_VC = torch.zeros(()), torch.empty_like(h_NC), torch.empty_like(head_VC)
    by_rows, by_columns = kernels.quantize_rows(head_VC), kernels.quantize_columns(head_VC)
    positions = max(1, _PROBABILITIES // len(head_VC))
    for start in range(0, len(h_NC), positions):
        part = slice(start, start + positions)
        losses_N, q_NV, scales_N = _probabilities(h_NC[part], by_rows, targets_N[part], kernels, ignored)
        total += losses_N.sum()
        multiply(kernels, q_NV, scales_N, *by_columns, grad_h_NC[part])
        by_channels = kernels.quantize_columns(h_NC[part], scales_N)
        multiply(kernels, q_NV.T, None, *by_channels, grad_head_VC, plus_NP=grad_head_VC if start else None)
    rows_N = ((targets_N >= 0) & (targets_N < len(head_VC))).nonzero().squeeze(1)
    chosen_N = targets_N[rows_N]
    grad_h_NC.index_add_(0, rows_N, head_VC[chosen_N].to(h_NC.dtype), alpha=-1)
    grad_head_VC.index_add_(0, chosen_N, h_NC[rows_N].float(), alpha=-1)
    return total, grad_h_NC, grad_head_VC


def _probabilities(
    h_NC: torch.Tensor,
    quantized_head: tuple[torch.Tensor, torch.Tensor],
    targets_N: torch.Tensor,
    kernels: Kernels,
    ignored: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses, and the probabilities as integers and their scales."""
    head_VC, scales_V = quantized_head
    q_NC, scales_N = kernels.quantize_rows(h_NC)
    q_NV = kernels.integers(len(h_NC), len(head_VC))
    found, rows = [], max(1, _LOGITS // len(head_VC))
    for start in range(0, len(h_NC), rows):
        part = slice(start, start + rows)
        sums_NV = torch._int_mm(q_NC[part], head_VC.T)
        found.append(
            kernels.quantized_cross_entropy(
                sums_NV, scales_N[part], scales_V, targets_N[part], ignored=ignored, out_NV=q_NV[part]
            )
        )
    losses_N, out_scales_N = map(torch.cat, zip(*found, strict=True))
    return losses_N, q_NV, out_scales_N
