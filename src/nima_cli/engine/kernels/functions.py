"""The compiled kernels as differentiable functions, each one pass over memory forward and one back.

Axis letters: B batch · T time · N both · C width · H heads · D head width · F hidden width of the MLP ·
O outputs of a projection · P those of several, side by side
"""

from typing import Any

import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.heads import HeadTransform
from nima_cli.engine.kernels.kernels import Kernels

Tensor = torch.Tensor


class AddNorm(torch.autograd.Function):
    """`x + branch`, and the same normalised, or `x` normalised; the sum's gradient is one pass with the norm's."""

    @staticmethod
    def forward(
        ctx: Any, x_BTC: Tensor, branch_BTC: Tensor | None, gain_C: Tensor, epsilon: float, kernels: Kernels
    ) -> Tensor | tuple[Tensor, Tensor]:
        total_BTC, normed_BTC = kernels.add_norm(x_BTC, branch_BTC, gain_C, epsilon)
        ctx.save_for_backward(total_BTC, gain_C)
        ctx.epsilon, ctx.kernels = epsilon, kernels
        return normed_BTC if branch_BTC is None else (total_BTC, normed_BTC)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None]:
        total_BTC, gain_C = ctx.saved_tensors
        *grad_total_BTC, grad_normed_BTC = (grad.contiguous() for grad in grads)
        grad_x_BTC, grad_gain_C = ctx.kernels.add_norm_gradient(
            total_BTC,
            gain_C,
            ctx.epsilon,
            grad_total_NC=grad_total_BTC[0] if grad_total_BTC else None,
            grad_normed_NC=grad_normed_BTC,
        )
        return grad_x_BTC, grad_x_BTC if grad_total_BTC else None, grad_gain_C, None, None


class PackedLinear(torch.autograd.Function):
    """What several projections make of the same input, side by side: one product instead of one for each.

    Weights are cast to the input's type; their gradients come back in float32.
    """

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, *weights: Tensor) -> Tensor:
        """The weights are `[O, C]`; the result is `[B, T, sum of O]`."""
        ctx.sizes = [len(weight_OC) for weight_OC in weights]
        packed_PC = x_BTC.new_empty(sum(ctx.sizes), x_BTC.shape[-1])
        for part_OC, weight_OC in zip(torch.split(packed_PC, ctx.sizes), weights, strict=True):
            part_OC.copy_(weight_OC)
        ctx.save_for_backward(x_BTC, packed_PC)
        return F.linear(x_BTC, packed_PC)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x_BTC, packed_PC = ctx.saved_tensors
        grad_NP = grads[0].flatten(0, 1)
        grad_packed_PC = (grad_NP.mT @ x_BTC.flatten(0, 1)).float()
        return (grad_NP @ packed_PC).view_as(x_BTC), *torch.split(grad_packed_PC, ctx.sizes)


class SplitHeads(torch.autograd.Function):
    """Queries, keys and values side by side, `[B, T, sum of H D]`, to `[B, H, T, D]` each, with what its form says."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BTP: Tensor,
        heads: tuple[int, ...],
        forms: tuple[HeadTransform, ...],
        kernels: Kernels,
        *gains: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """The gains are those of the forms: they stand here too to have a gradient."""
        assert all(form.gain_D is gain_D for form, gain_D in zip(forms, gains, strict=True))
        width = x_BTP.shape[-1] // sum(heads)
        ctx.sizes = [width * count for count in heads]
        ctx.forms, ctx.kernels = forms, kernels
        ctx.save_for_backward(x_BTP)
        parts = zip(torch.split(x_BTP, ctx.sizes, dim=-1), heads, forms, strict=True)
        return tuple(kernels.split_heads(*part) for part in parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x_BTP,) = ctx.saved_tensors
        grad_x_BTP = torch.empty_like(x_BTP)
        given, into = (torch.split(tensor, ctx.sizes, dim=-1) for tensor in (x_BTP, grad_x_BTP))
        grad_gains = [
            ctx.kernels.split_heads_gradient(x_BTC, grad.contiguous(), form, grad_x_BTC)
            for x_BTC, grad, form, grad_x_BTC in zip(given, grads, ctx.forms, into, strict=True)
        ]
        return grad_x_BTP, None, None, None, *grad_gains


class NativeAttention(torch.autograd.Function):
    """Causal attention of heads `[B, H, T, D]`, whose queries have been scaled, to `[B, T, H D]`."""

    @staticmethod
    def forward(ctx: Any, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, kernels: Kernels) -> Tensor:
        out_BTC, *kept = kernels.attention(q_BHTD, k_BGTD, v_BGTD)
        ctx.save_for_backward(q_BHTD, k_BGTD, v_BGTD, *kept)
        ctx.kernels = kernels
        return out_BTC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        kernels: Kernels = ctx.kernels
        q_BHTD, k_BGTD, v_BGTD, *kept = ctx.saved_tensors
        return *kernels.attention_gradient(q_BHTD, k_BGTD, v_BGTD, tuple(kept), grads[0].contiguous()), None


class JoinHeads(torch.autograd.Function):
    """`[B, H, T, D]` to `[B, T, H D]`."""

    @staticmethod
    def forward(ctx: Any, y_BHTD: Tensor, kernels: Kernels) -> Tensor:
        ctx.heads, ctx.kernels = y_BHTD.shape[1], kernels
        batch, heads, time, width = y_BHTD.shape
        x_BTC = y_BHTD.new_empty(batch, time, heads * width)
        kernels.split_heads_gradient(None, y_BHTD, HeadTransform(), x_BTC)
        return x_BTC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.kernels.split_heads(grads[0].contiguous(), ctx.heads, HeadTransform()), None


class SwiGLU(torch.autograd.Function):
    """`silu(gate) * up` of both side by side, `[B, T, 2 F]` to `[B, T, F]`."""

    @staticmethod
    def forward(ctx: Any, x_BTP: Tensor, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(x_BTP)
        ctx.kernels = kernels
        return kernels.swiglu(x_BTP)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.kernels.swiglu_gradient(*ctx.saved_tensors, grads[0].contiguous()), None


class Drop(torch.autograd.Function):
    """`x * keep * factor`."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, keep_BTC: Tensor, factor: float, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(keep_BTC)
        ctx.factor, ctx.kernels = factor, kernels
        return kernels.drop(x_BTC, keep_BTC, factor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.kernels.drop(grads[0].contiguous(), *ctx.saved_tensors, ctx.factor), None, None, None
