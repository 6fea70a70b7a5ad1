"""The compiled kernels as differentiable functions, each one pass over memory forward and one back.

Axis letters: B batch · T time · C width · H heads · D head width · F hidden width of the MLP
"""

from typing import Any

import torch

from nima_cli.engine.native.kernels import HeadForm, Kernels

Tensor = torch.Tensor


class AddNorm(torch.autograd.Function):
    """`x + branch`, and the same normalised; the sum's gradient is one pass with the norm's."""

    @staticmethod
    def forward(
        ctx: Any, x_BTC: Tensor, branch_BTC: Tensor, gain_C: Tensor, epsilon: float, kernels: Kernels
    ) -> tuple[Tensor, Tensor]:
        total_BTC, normed_BTC = kernels.add_norm(x_BTC, branch_BTC, gain_C, epsilon)
        ctx.save_for_backward(total_BTC, gain_C)
        ctx.epsilon, ctx.kernels = epsilon, kernels
        return total_BTC, normed_BTC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        total_BTC, gain_C = ctx.saved_tensors
        grad_total_BTC, grad_normed_BTC = (grad.contiguous() for grad in grads)
        grad_x_BTC, grad_gain_C = ctx.kernels.add_norm_gradient(
            total_BTC, gain_C, ctx.epsilon, grad_total_NC=grad_total_BTC, grad_normed_NC=grad_normed_BTC
        )
        return grad_x_BTC, grad_x_BTC, grad_gain_C, None, None


class Norm(torch.autograd.Function):
    """Each row divided by its root mean square, times the gain."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, gain_C: Tensor, epsilon: float, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(x_BTC, gain_C)
        ctx.epsilon, ctx.kernels = epsilon, kernels
        return kernels.add_norm(x_BTC, None, gain_C, epsilon)[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x_BTC, gain_C = ctx.saved_tensors
        grad_x_BTC, grad_gain_C = ctx.kernels.add_norm_gradient(
            x_BTC, gain_C, ctx.epsilon, grad_total_NC=None, grad_normed_NC=grads[0].contiguous()
        )
        return grad_x_BTC, grad_gain_C, None, None


class SplitHeads(torch.autograd.Function):
    """`[B, T, H D]` to `[B, H, T, D]`, with what the form says; the gain stands beside the form to have a gradient."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, gain_D: Tensor | None, heads: int, form: HeadForm, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(x_BTC if gain_D is not None else None)
        ctx.form, ctx.kernels = form, kernels
        return kernels.split_heads(x_BTC, heads, form)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        (x_BTC,) = ctx.saved_tensors
        return *ctx.kernels.split_heads_gradient(x_BTC, grads[0].contiguous(), ctx.form), None, None, None


class JoinHeads(torch.autograd.Function):
    """`[B, H, T, D]` to `[B, T, H D]`."""

    @staticmethod
    def forward(ctx: Any, y_BHTD: Tensor, kernels: Kernels) -> Tensor:
        ctx.heads, ctx.kernels = y_BHTD.shape[1], kernels
        return kernels.split_heads_gradient(None, y_BHTD, HeadForm())[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.kernels.split_heads(grads[0].contiguous(), ctx.heads, HeadForm()), None


class SwiGLU(torch.autograd.Function):
    """`silu(gate) * up`."""

    @staticmethod
    def forward(ctx: Any, gate_BTF: Tensor, up_BTF: Tensor, kernels: Kernels) -> Tensor:
        ctx.save_for_backward(gate_BTF, up_BTF)
        ctx.kernels = kernels
        return kernels.swiglu(gate_BTF, up_BTF)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        return *ctx.kernels.swiglu_gradient(*ctx.saved_tensors, grads[0].contiguous()), None


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
