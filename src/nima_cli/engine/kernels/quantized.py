"""Training with products of 8-bit integers, for processors that multiply those faster than 16 bit.

Both factors of a product are rounded to int8 just before, with a scale for each row of the left and each column of the
right one: as in LLM.int8() (2208.07339) for the forward pass, and as in SwitchBack (2304.13013) for the input's
gradient. The weights' gradient sums over positions; there the input takes the scales of the output's gradient before
it is rounded by columns. Master weights stay float32, and evaluation and inference use them.

In the cross-entropy, probabilities become int8 by stochastic rounding: most are far smaller than the greatest of their
row and would be lost otherwise. The one-hot part of the gradient is added exactly.

Axis letters: B batch · T time · N both · C width · O outputs of a projection · P those of several, side by side ·
V vocabulary
"""

from collections.abc import Sequence
from typing import Any

import torch

from nima_cli.engine.kernels.integers import Layout, OutputMatrix, PackedMatrix
from nima_cli.engine.kernels.kernels import Kernels

Tensor = torch.Tensor
_PROBABILITIES = 1 << 24  # held at once, a byte each
PackedWeights = tuple[PackedMatrix, PackedMatrix]
_GRADIENT = (Layout.LEFT, Layout.LEFT_TRANSPOSED)  # of the input's gradient and of the weights' gradient


class Int8WeightCache:
    """Rounded weights, side by side, for all micro-batches of a step."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._packed: dict[int, tuple[list[tuple[int, int]], PackedWeights]] = {}

    def of(self, weights: Sequence[Tensor]) -> PackedWeights:
        """Parameters `[O, C]` as the right factors `[C, P]` and `[P, C]`."""
        now = [(weight.data_ptr(), weight._version) for weight in weights]  # `_version` counts changes in place
        seen, packed = self._packed.get(id(weights[0]), ([], None))
        if packed is None or seen != now:
            packed_PC = torch.cat([weight.detach() for weight in weights])
            (weights_CP,) = self._kernels.quantize_rows(packed_PC, Layout.RIGHT_TRANSPOSED)
            (weights_PC,) = self._kernels.quantize_columns(packed_PC, Layout.RIGHT)
            packed = weights_CP, weights_PC
            self._packed[id(weights[0])] = now, packed
        return packed


class QuantizedLinear(torch.autograd.Function):
    """`PackedLinear` with integer products."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, kernels: Kernels, packed: PackedWeights, *weights: Tensor) -> Tensor:
        """`packed` holds the same weights as integers."""
        ctx.kernels, ctx.weights = kernels, weights
        weights_CP, ctx.weights_PC = packed
        x_NC = x_BTC.flatten(0, 1)
        ctx.save_for_backward(x_NC)
        (left_NC,) = kernels.quantize_rows(x_NC, Layout.LEFT)
        return _multiply(kernels, left_NC, weights_CP, x_NC.dtype).view(*x_BTC.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x_NC,) = ctx.saved_tensors
        kernels: Kernels = ctx.kernels
        grad_NP, grad_PN = kernels.quantize_rows(grads[0].flatten(0, 1).contiguous(), *_GRADIENT)
        grad_x_NC = _multiply(kernels, grad_NP, ctx.weights_PC, x_NC.dtype)
        grad_weights = _of_weights(kernels, grad_PN, x_NC, grad_NP.scales, ctx.weights)
        return grad_x_NC.view(*grads[0].shape[:-1], -1), None, None, *grad_weights


class QuantizedMLP(torch.autograd.Function):
    """The MLP with integer products; what lies between them is rounded where it is made."""

    @staticmethod
    def forward(
        ctx: Any, x_BTC: Tensor, kernels: Kernels, inner: PackedWeights, outer: PackedWeights, *weights: Tensor
    ) -> Tensor:
        """The weights are gate, up and down; `inner` and `outer` hold the same as integers."""
        ctx.kernels, ctx.weights = kernels, weights
        (in_CP, ctx.in_PC), (out_FC, ctx.out_CF) = inner, outer
        x_NC = x_BTC.flatten(0, 1)
        (left_NC,) = kernels.quantize_rows(x_NC, Layout.LEFT)
        packed_NP = _multiply(kernels, left_NC, in_CP, x_NC.dtype)
        h_NF, (left_NF,) = kernels.swiglu_quantized(packed_NP, Layout.LEFT)
        ctx.save_for_backward(x_NC, packed_NP, h_NF)
        return _multiply(kernels, left_NF, out_FC, x_NC.dtype).view(*x_BTC.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NC, packed_NP, h_NF = ctx.saved_tensors
        kernels: Kernels = ctx.kernels
        grad_NC, grad_CN = kernels.quantize_rows(grads[0].flatten(0, 1).contiguous(), *_GRADIENT)
        grad_h_NF = _multiply(kernels, grad_NC, ctx.out_CF, x_NC.dtype)
        grad_out = _of_weights(kernels, grad_CN, h_NF, grad_NC.scales, ctx.weights[2:])
        grad_NP, grad_PN = kernels.swiglu_gradient_quantized(packed_NP, grad_h_NF, *_GRADIENT)
        grad_x_NC = _multiply(kernels, grad_NP, ctx.in_PC, x_NC.dtype)
        grad_in = _of_weights(kernels, grad_PN, x_NC, grad_NP.scales, ctx.weights[:2])
        return grad_x_NC.view(grads[0].shape), None, None, None, *grad_in, *grad_out


def quantized_cross_entropy(
    h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor, kernels: Kernels, *, ignored: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum of the losses and its gradients: of `h_NC` in its type, of `head_VC` in float32."""
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


def _multiply(kernels: Kernels, left: PackedMatrix, right: PackedMatrix, dtype: torch.dtype) -> Tensor:
    return kernels.multiply(left, right, torch.empty(left.shape[0], right.shape[1], dtype=dtype))


def _of_weights(
    kernels: Kernels, grad_PN: PackedMatrix, x_NC: Tensor, scales_N: Tensor | None, weights: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Float32 gradients of the weights; `scales_N` are those of the result's gradient."""
    (right_NC,) = kernels.quantize_columns(x_NC, Layout.RIGHT, factors_N=scales_N)
    grad_PC = _multiply(kernels, grad_PN, right_NC, torch.float32)
    return torch.split(grad_PC, [len(weight_OC) for weight_OC in weights])
