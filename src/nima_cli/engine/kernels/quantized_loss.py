"""The cross-entropy from hidden states with products of 8-bit integers.

What softmax minus one-hot is multiplied with comes in two parts. Probabilities become int8 by stochastic
rounding: most are far smaller than the greatest of their row and would be lost otherwise. The one-hot part needs no
product, and is exact.

Axis letters: N positions · C width · V vocabulary
"""

import torch

from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.losses import OutputMatrix
from nima_cli.engine.kernels.packed_matrix import Layout

_PROBABILITIES = 1 << 24  # to hold at once, a byte each


def quantized_cross_entropy(
    h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor, kernels: Kernels, *, ignored: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum of the losses and its gradients: of `h_NC`, in its type, and in float32 of `head_VC`."""
    total, grad_h_NC, grad_head_VC = torch.zeros(()), torch.empty_like(h_NC), torch.empty_like(head_VC)
    head = OutputMatrix(
        *kernels.quantize_rows(head_VC, Layout.RIGHT_TRANSPOSED), *kernels.quantize_columns(head_VC, Layout.RIGHT)
    )
    positions = max(1, _PROBABILITIES // len(head_VC))
    for start in range(0, len(h_NC), positions):
        part = slice(start, start + positions)
        (left_NC,) = kernels.quantize_rows(h_NC[part], Layout.LEFT)
        losses_N, probs_VN, scales_N = kernels.linear_cross_entropy(
            left_NC, head, targets_N[part], ignored=ignored, out_NC=grad_h_NC[part]
        )
        total += losses_N.sum()
        (right_NC,) = kernels.quantize_columns(h_NC[part], Layout.RIGHT, factors_N=scales_N)
        kernels.multiply(probs_VN, right_NC, grad_head_VC, plus_NP=grad_head_VC if start else None)
    rows_N = ((targets_N >= 0) & (targets_N < len(head_VC))).nonzero().squeeze(1)
    chosen_N = targets_N[rows_N]
    grad_h_NC.index_add_(0, rows_N, head_VC[chosen_N].to(h_NC.dtype), alpha=-1)
    grad_head_VC.index_add_(0, chosen_N, h_NC[rows_N].float(), alpha=-1)
    return total, grad_h_NC, grad_head_VC
