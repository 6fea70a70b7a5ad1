"""Differentiable functions of the compiled kernels, each one pass over memory forward and one backward.

Axis letters: B batch · T time · N both · C width · H heads · G key and value heads · D head width · E half of it ·
F hidden width of the MLP · O outputs of a projection · P those of several, side by side
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.native import KINDS, Attention, Heads, address, kind, position_stride, rows_of

Tensor = torch.Tensor


class AddNorm(torch.autograd.Function):
    """`x + branch` and its RMSNorm, or without a branch the norm of `x` alone."""

    @staticmethod
    def forward(
        ctx: Any, x_BTC: Tensor, branch_BTC: Tensor | None, gain_C: Tensor, epsilon: float, kernels: Kernels
    ) -> Tensor | tuple[Tensor, Tensor]:
        assert gain_C.dtype is torch.float32
        total_BTC = x_BTC if branch_BTC is None else torch.empty_like(x_BTC)
        normed_BTC, sizes = torch.empty_like(x_BTC), (*rows_of(x_BTC), epsilon)
        types = kind(x_BTC, branch_BTC)
        kernels.call("add_norm", types, x_BTC, branch_BTC, gain_C, *sizes, total_BTC, normed_BTC)
        ctx.save_for_backward(total_BTC, gain_C)
        ctx.sizes, ctx.kernels = sizes, kernels
        return normed_BTC if branch_BTC is None else (total_BTC, normed_BTC)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None]:
        total_BTC, gain_C = ctx.saved_tensors
        *of_total, grad_normed_BTC = (grad.contiguous() for grad in grads)
        grad_total_BTC = of_total[0] if of_total else None
        grad_x_BTC, grad_gain_C = torch.empty_like(total_BTC), torch.empty_like(gain_C)
        types, given = kind(total_BTC, *grads), (total_BTC, gain_C, grad_normed_BTC, grad_total_BTC)
        ctx.kernels.call("add_norm_gradient", types, *given, *ctx.sizes, grad_x_BTC, grad_gain_C)
        return grad_x_BTC, grad_x_BTC if of_total else None, grad_gain_C, None, None


class PackedLinear(torch.autograd.Function):
    """Several projections `[O, C]` of one input as one product, `[B, T, sum of O]`, with their biases side by side.

    Gradients of weights and biases are float32.
    """

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, bias_P: Tensor | None, *weights: Tensor) -> Tensor:
        ctx.sizes = [len(weight_OC) for weight_OC in weights]
        packed_PC = x_BTC.new_empty(sum(ctx.sizes), x_BTC.shape[-1])
        for part_OC, weight_OC in zip(torch.split(packed_PC, ctx.sizes), weights, strict=True):
            part_OC.copy_(weight_OC)
        ctx.save_for_backward(x_BTC, packed_PC)
        return F.linear(x_BTC, packed_PC, bias_P.to(x_BTC.dtype) if bias_P is not None else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_BTC, packed_PC = ctx.saved_tensors
        grad_NP = grads[0].flatten(0, 1)
        grad_packed_PC = (grad_NP.mT @ x_BTC.flatten(0, 1)).float()
        grad_bias_P = _bias_gradient(grads[0]) if ctx.needs_input_grad[1] else None
        return (grad_NP @ packed_PC).view_as(x_BTC), grad_bias_P, *torch.split(grad_packed_PC, ctx.sizes)


class AddBias(torch.autograd.Function):
    """Adds a float32 bias `[P]`, whose gradient is summed in float32."""

    @staticmethod
    def forward(ctx: Any, x_BTP: Tensor, bias_P: Tensor) -> Tensor:
        return x_BTP + bias_P.to(x_BTP.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return grads[0], _bias_gradient(grads[0])


def _bias_gradient(grad_BTP: Tensor) -> Tensor:
    return grad_BTP.sum(dim=(0, 1), dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class HeadTransform:
    """How a head is transformed when it is split off: normalised if it has a gain, then rotated and scaled.

    Attributes:
        gain_D: float32.
        angles_TE: float32 cosines and sines of each position; None neither rotates nor scales.
    """

    gain_D: Tensor | None = None
    angles_TE: tuple[Tensor, Tensor] | None = None
    factor: float = 1.0
    epsilon: float = 0.0

    def split(self, kernels: Kernels, x_BTC: Tensor, heads: int) -> Tensor:
        """Heads side by side, maybe some columns of a wider tensor, to `[B, H, T, D]`."""
        y_BHTD = x_BTC.new_empty(x_BTC.shape[0], heads, x_BTC.shape[1], x_BTC.shape[2] // heads)
        kernels.call("split_heads", kind(x_BTC), self._describe(y_BHTD, x_BTC), x_BTC.data_ptr(), y_BHTD)
        return y_BHTD

    def split_gradient(
        self, kernels: Kernels, x_BTC: Tensor | None, grad_BHTD: Tensor, out_BTC: Tensor
    ) -> Tensor | None:
        """Write the input's gradient into `out_BTC`, and return the gain's; `x_BTC` is needed for a gain only."""
        batch, heads, time, width = grad_BHTD.shape
        assert out_BTC.shape == (batch, time, heads * width)
        assert self.gain_D is None or (x_BTC is not None and position_stride(x_BTC) == position_stride(out_BTC))
        described, grad_gain_D = self._describe(grad_BHTD, out_BTC), None
        if self.gain_D is not None:
            grad_gain_D = torch.empty_like(self.gain_D)
        at = x_BTC.data_ptr() if x_BTC is not None else None
        types, out = kind(grad_BHTD, out_BTC, x_BTC), out_BTC.data_ptr()
        kernels.call("split_heads_gradient", types, described, at, grad_BHTD, out, grad_gain_D)
        return grad_gain_D

    def _describe(self, heads_BHTD: Tensor, packed_BTC: Tensor) -> Heads:
        batch, heads, time, width = heads_BHTD.shape
        cosines_TE, sines_TE = self.angles_TE or (None, None)
        for wanted, tensor in (((width,), self.gain_D), *(((time, width // 2), x) for x in (cosines_TE, sines_TE))):
            assert tensor is None or (tensor.dtype is torch.float32 and tensor.shape == wanted)
        addresses, stride = map(address, (self.gain_D, cosines_TE, sines_TE)), position_stride(packed_BTC)
        return Heads(batch, time, heads, width, stride, *addresses, self.epsilon, self.factor)


class SplitHeads(torch.autograd.Function):
    """Queries, keys and values side by side, `[B, T, sum of H D]`, to `[B, H, T, D]` each, transformed."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BTP: Tensor,
        heads: tuple[int, ...],
        forms: tuple[HeadTransform, ...],
        kernels: Kernels,
        *gains: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """The gains are those of the forms, given once more because autograd finds tensors in arguments only."""
        assert all(form.gain_D is gain_D for form, gain_D in zip(forms, gains, strict=True))
        width = x_BTP.shape[-1] // sum(heads)
        ctx.sizes = [width * count for count in heads]
        ctx.forms, ctx.kernels = forms, kernels
        ctx.save_for_backward(x_BTP)
        parts = zip(forms, torch.split(x_BTP, ctx.sizes, dim=-1), heads, strict=True)
        return tuple(form.split(kernels, x_BTC, count) for form, x_BTC, count in parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x_BTP,) = ctx.saved_tensors
        grad_x_BTP = torch.empty_like(x_BTP)
        given, into = (torch.split(tensor, ctx.sizes, dim=-1) for tensor in (x_BTP, grad_x_BTP))
        grad_gains = [
            form.split_gradient(ctx.kernels, x_BTC, grad.contiguous(), grad_x_BTC)
            for form, x_BTC, grad, grad_x_BTC in zip(ctx.forms, given, grads, into, strict=True)
        ]
        return grad_x_BTP, None, None, None, *grad_gains


class NativeAttention(torch.autograd.Function):
    """Causal attention of bfloat16 heads, whose queries have been scaled, to `[B, T, H D]`; G divides H."""

    @staticmethod
    def forward(ctx: Any, q_BHTD: Tensor, k_BGTD: Tensor, v_BGTD: Tensor, kernels: Kernels) -> Tensor:
        assert kind(q_BHTD, k_BGTD, v_BGTD) == KINDS[torch.bfloat16]
        batch, heads, time, width = q_BHTD.shape
        out_BTC = q_BHTD.new_empty(batch, time, heads * width)
        exp_scores = q_BHTD.new_empty(batch * heads, kernels.ask("exp_scores_kept", time))
        inverses = torch.empty(batch * heads, kernels.ask("inverses_kept", time))
        ctx.kernels, ctx.sizes = kernels, Attention(batch, heads, k_BGTD.shape[1], time, width)
        kernels.call("attention", ctx.sizes, q_BHTD, k_BGTD, v_BGTD, out_BTC, exp_scores, inverses)
        ctx.save_for_backward(q_BHTD, k_BGTD, v_BGTD, exp_scores, inverses)
        return out_BTC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        kept = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.empty_like(each) for each in kept[:3])
        ctx.kernels.call("attention_gradient", ctx.sizes, *kept, grads[0].contiguous(), grad_q, grad_k, grad_v)
        return grad_q, grad_k, grad_v, None


class JoinHeads(torch.autograd.Function):
    """`[B, H, T, D]` to `[B, T, H D]`."""

    @staticmethod
    def forward(ctx: Any, y_BHTD: Tensor, kernels: Kernels) -> Tensor:
        batch, ctx.heads, time, width = y_BHTD.shape
        ctx.kernels = kernels
        x_BTC = y_BHTD.new_empty(batch, time, ctx.heads * width)
        HeadTransform().split_gradient(kernels, None, y_BHTD, x_BTC)
        return x_BTC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return HeadTransform().split(ctx.kernels, grads[0].contiguous(), ctx.heads), None


class SwiGLU(torch.autograd.Function):
    """`silu(gate) * up` of both side by side, `[..., 2 F]` to `[..., F]`."""

    @staticmethod
    def forward(ctx: Any, x_BTP: Tensor, kernels: Kernels) -> Tensor:
        rows, width = rows_of(x_BTP)
        y_BTF = x_BTP.new_empty(*x_BTP.shape[:-1], width // 2)
        kernels.call("swiglu", kind(x_BTP), x_BTP, rows, width // 2, y_BTF)
        ctx.save_for_backward(x_BTP)
        ctx.kernels = kernels
        return y_BTF

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x_BTP,) = ctx.saved_tensors
        grad_BTF, grad_x_BTP = grads[0].contiguous(), torch.empty_like(x_BTP)
        types, sizes = kind(x_BTP, grad_BTF), rows_of(grad_BTF)
        ctx.kernels.call("swiglu_gradient", types, x_BTP, grad_BTF, *sizes, grad_x_BTP)
        return grad_x_BTP, None


class Drop(torch.autograd.Function):
    """`x * keep * factor`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, factor: float, kernels: Kernels) -> Tensor:
        assert keep.dtype is torch.bool
        assert keep.shape == x.shape
        ctx.save_for_backward(keep)
        ctx.factor, ctx.kernels = factor, kernels
        return _drop(kernels, x, keep, factor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (keep,) = ctx.saved_tensors
        return _drop(ctx.kernels, grads[0].contiguous(), keep, ctx.factor), None, None, None


def _drop(kernels: Kernels, x: Tensor, keep: Tensor, factor: float) -> Tensor:
    y = torch.empty_like(x)
    kernels.call("drop", kind(x), x, keep, factor, x.numel(), y)
    return y
