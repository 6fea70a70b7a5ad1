"""Matrix products of training as products of 8-bit integers, for processors that multiply those faster than 16 bit.

Both factors of each of a layer's three products are rounded to int8 just before, with a scale for each row of the left
and each column of the right one, and the sums are exact: as in LLM.int8() (2208.07339) for the forward pass, and as in
SwitchBack (2304.13013) for the input's gradient. The weights' gradient sums over positions, where scales cannot differ;
there, those of the output's gradient are given to the input before it is rounded by columns.

Nothing is kept in 8 bit: master weights stay float32, and what is trained so is evaluated and used without it.

Axis letters: B batch · T time · N both · C width · O outputs of a projection · P those of several, side by side
"""

from collections.abc import Iterator
from typing import Any

import torch

from nima_cli.engine.native.kernels import Kernels

Tensor = torch.Tensor
_SUMS = 1 << 21  # int32 sums at once: 8 MB, which are read again before they leave the processor's caches


class QuantizedLinear(torch.autograd.Function):
    """`PackedLinear` with integer products."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, kernels: Kernels, *weights: Tensor) -> Tensor:
        """The weights are `[O, C]`; the result is `[B, T, sum of O]`."""
        ctx.kernels, ctx.sizes = kernels, [len(weight_OC) for weight_OC in weights]
        x_NC, packed_PC = x_BTC.flatten(0, 1), torch.cat(weights)
        ctx.save_for_backward(x_NC, *kernels.quantize_columns(packed_PC))
        y_NP = x_NC.new_empty(len(x_NC), len(packed_PC))
        q_PC, scales_P = kernels.quantize_rows(packed_PC)
        multiply(kernels, *kernels.quantize_rows(x_NC), q_PC.T, scales_P, y_NP)
        return y_NP.view(*x_BTC.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_NC, q_PC, scales_C = ctx.saved_tensors
        kernels: Kernels = ctx.kernels
        q_NP, scales_N = kernels.quantize_rows(grads[0].flatten(0, 1).contiguous())
        grad_x_NC, grad_packed_PC = torch.empty_like(x_NC), torch.empty(q_PC.shape)
        multiply(kernels, q_NP, scales_N, q_PC, scales_C, grad_x_NC)
        multiply(kernels, q_NP.T, None, *kernels.quantize_columns(x_NC, scales_N), grad_packed_PC)
        return grad_x_NC.view(*grads[0].shape[:-1], -1), None, *torch.split(grad_packed_PC, ctx.sizes)


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
) -> Tensor:
    """Write the product of two matrices, integers times their scales, and `plus_NP` times the factor into `out_NP`."""
    for part in _row_pieces(*out_NP.shape):
        kernels.dequantize(
            torch._int_mm(q_NK[part], q_KP),
            scales_N[part] if scales_N is not None else None,
            scales_P,
            out_NP[part],
            plus_NP=plus_NP[part] if plus_NP is not None else None,
            factor=factor,
        )
    return out_NP


def _row_pieces(rows: int, columns: int) -> Iterator[slice]:
    """Rows of a product to compute at once."""
    size = max(64, _SUMS // columns)
    return (slice(start, start + size) for start in range(0, rows, size))
