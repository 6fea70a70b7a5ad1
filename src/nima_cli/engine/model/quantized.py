"""Matrix products of training as products of 8-bit integers, for processors that multiply those faster than 16 bit.

Both factors of each of a layer's three products are rounded to int8 just before, with a scale for each row of the left
and each column of the right one, and the sums are exact: as in LLM.int8() (2208.07339) for the forward pass, and as in
SwitchBack (2304.13013) for the input's gradient. The weights' gradient sums over positions, where scales cannot differ;
there, those of the output's gradient are given to the input before it is rounded by columns.

Nothing is kept in 8 bit: master weights stay float32, and what is trained so is evaluated and used without it.

Axis letters: B batch · T time · N both · C width · O outputs of a projection · P those of several, side by side
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from nima_cli.engine.native.kernels import Kernels

Tensor = torch.Tensor
_COLUMNS = 1024  # of a product at once: larger ones lie too far apart in memory
_SUMS = 1 << 22  # int32 sums at once: 16 MB, read again while they are in the processor's last cache


Integers = tuple[Tensor, Tensor]  # int8 numbers, and the scales of their rows or columns


class RoundedWeights:
    """Projections of one input side by side, as integers: rounded once for all micro-batches of a step."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, int]] = []
        self._forms: tuple[Integers, Integers] | None = None

    def of(self, kernels: Kernels, weights: Sequence[Tensor]) -> tuple[Integers, Integers]:
        """The weights `[O, C]` as `[P, C]` with scales for each row, and with scales for each column."""
        now = [(weight.data_ptr(), weight._version) for weight in weights]  # torch counts changes in place
        if self._forms is None or now != self._seen:
            packed_PC = torch.cat([weight.detach() for weight in weights])
            self._forms = kernels.quantize_rows(packed_PC), kernels.quantize_columns(packed_PC)
            self._seen = now
        return self._forms


class QuantizedLinear(torch.autograd.Function):
    """`PackedLinear` with integer products."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, kernels: Kernels, rounded: RoundedWeights, *weights: Tensor) -> Tensor:
        """The weights are `[O, C]`; the result is `[B, T, sum of O]`."""
        ctx.kernels, ctx.weights = kernels, weights
        by_rows, ctx.by_columns = rounded.of(kernels, weights)
        x_NC = x_BTC.flatten(0, 1)
        ctx.save_for_backward(x_NC)
        return _project(kernels, kernels.quantize_rows(x_NC), by_rows, x_NC.dtype).view(*x_BTC.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x_NC,) = ctx.saved_tensors
        kernels: Kernels = ctx.kernels
        grad = kernels.quantize_rows(grads[0].flatten(0, 1).contiguous())
        grad_x_NC = _project_back(kernels, grad, ctx.by_columns, x_NC.dtype)
        grad_weights = _gradients(kernels, grad, x_NC, ctx.weights)
        return grad_x_NC.view(*grads[0].shape[:-1], -1), None, None, *grad_weights


class QuantizedMLP(torch.autograd.Function):
    """Gate and up projections, SwiGLU, and the projection down; what lies between them is rounded where it is made."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BTC: Tensor,
        kernels: Kernels,
        rounded_in: RoundedWeights,
        rounded_out: RoundedWeights,
        *weights: Tensor,
    ) -> Tensor:
        """The weights are gate and up, `[F, C]`, and down, `[C, F]`."""
        ctx.kernels, ctx.weights = kernels, weights
        in_by_rows, ctx.in_by_columns = rounded_in.of(kernels, weights[:2])
        out_by_rows, ctx.out_by_columns = rounded_out.of(kernels, weights[2:])
        x_NC = x_BTC.flatten(0, 1)
        packed_NP = _project(kernels, kernels.quantize_rows(x_NC), in_by_rows, x_NC.dtype)
        h_NF, *h = kernels.swiglu_quantized(packed_NP)
        ctx.save_for_backward(x_NC, packed_NP, h_NF)
        return _project(kernels, (h[0], h[1]), out_by_rows, x_NC.dtype).view(*x_BTC.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NC, packed_NP, h_NF = ctx.saved_tensors
        kernels: Kernels = ctx.kernels
        grad = kernels.quantize_rows(grads[0].flatten(0, 1).contiguous())
        grad_h_NF = _project_back(kernels, grad, ctx.out_by_columns, x_NC.dtype)
        grad_out = _gradients(kernels, grad, h_NF, ctx.weights[2:])
        grad = kernels.swiglu_gradient_quantized(packed_NP, grad_h_NF)
        grad_x_NC = _project_back(kernels, grad, ctx.in_by_columns, x_NC.dtype)
        grad_in = _gradients(kernels, grad, x_NC, ctx.weights[:2])
        return grad_x_NC.view(grads[0].shape), None, None, None, *grad_in, *grad_out


def _project(kernels: Kernels, x: Integers, weights: Integers, dtype: torch.dtype) -> Tensor:
    """`[N, C]` to `[N, P]`."""
    (x_NC, scales_N), (weights_PC, scales_P) = x, weights
    y_NP = torch.empty(len(x_NC), len(weights_PC), dtype=dtype)
    return multiply(kernels, x_NC, scales_N, weights_PC.T, scales_P, y_NP)


def _project_back(kernels: Kernels, grad: Integers, weights: Integers, dtype: torch.dtype) -> Tensor:
    """The gradient `[N, P]` of the result to that of the input, `[N, C]`."""
    grad_x_NC = torch.empty(len(grad[0]), weights[0].shape[1], dtype=dtype)
    return multiply(kernels, *grad, *weights, grad_x_NC)


def _gradients(kernels: Kernels, grad: Integers, x_NC: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradient `[N, P]` of the result to those of the weights, float32."""
    q_NP, scales_N = grad
    grad_PC = torch.empty(q_NP.shape[1], x_NC.shape[1])
    multiply(kernels, q_NP.T, None, *kernels.quantize_columns(x_NC, scales_N), grad_PC)
    return torch.split(grad_PC, [len(weight_OC) for weight_OC in weights])


def multiply(
    kernels: Kernels,
    q_NK: Tensor,
    scales_N: Tensor | None,
    q_KP: Tensor,
    scales_P: Tensor,
    out_NP: Tensor,
    *,
    plus_NP: Tensor | None = None,
    factor: float = 1.0,
    symmetric: bool = False,
) -> Tensor:
    """Write the product of two matrices, integers times their scales, and `plus_NP` times the factor into `out_NP`.

    Where the result is known to be `symmetric`, half of it may be computed.
    """
    if kernels.multiplies:
        return kernels.multiply(
            q_NK, scales_N, q_KP, scales_P, out_NP, plus_NP=plus_NP, factor=factor, symmetric=symmetric
        )
    rows, columns = out_NP.shape
    for part_P in _pieces(columns, _COLUMNS):
        for part_N in _pieces(rows, max(64, _SUMS // min(columns, _COLUMNS))):
            kernels.dequantize(
                torch._int_mm(q_NK[part_N], q_KP[:, part_P]),
                scales_N[part_N] if scales_N is not None else None,
                scales_P[part_P],
                out_NP[part_N, part_P],
                plus_NP=plus_NP[part_N, part_P] if plus_NP is not None else None,
                factor=factor,
            )
    return out_NP


def _pieces(size: int, most: int) -> Iterator[slice]:
    """As few pieces of at most so many as there can be, all of them about as large."""
    count = -(-size // most)
    return (slice(size * piece // count, size * (piece + 1) // count) for piece in range(count))
