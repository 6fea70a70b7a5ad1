"""The forward pass of `gpt.py` for training on a CPU, with compiled kernels between the matrix products.

The same function as `GPT.hidden` but for rounding: in bfloat16, what is one kernel here is rounded once, and there
after each of its operations. Gradients are torch's, through the functions of `native_functions.py`.

Axis letters: B batch · T time · C width · H heads · D head width · E half of it · N sequences and heads ·
P outputs of several projections, side by side
"""

from typing import TYPE_CHECKING, Any, cast

import torch

from nima_cli.engine.kernels.blocked_attention import blocked_attention
from nima_cli.engine.kernels.functions import (
    AddNorm,
    Drop,
    JoinHeads,
    NativeAttention,
    Norm,
    PackedLinear,
    SplitHeads,
    SwiGLU,
)
from nima_cli.engine.kernels.heads import HeadForm
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.quantized import QuantizedLinear, QuantizedMLP
from nima_cli.engine.model.dropout import RowDropout

if TYPE_CHECKING:
    from nima_cli.engine.model.gpt import GPT, MLP, Attention, Block, Linear

Angles = tuple[torch.Tensor, torch.Tensor]


def native_hidden(model: "GPT", x_BTC: torch.Tensor, kernels: Kernels, epsilon: float) -> torch.Tensor:
    """Embedded tokens to the last layer's normalised states, both `[B, T, C]` in the compute type."""
    time = x_BTC.shape[1]
    angles_TE = model.rotary.cos_TE[:time], model.rotary.sin_TE[:time]
    branch_BTC = None
    for layer in model.layers:
        block = cast("Block", layer)
        x_BTC, normed_BTC = _add_norm(x_BTC, branch_BTC, block.input_layernorm.weight, epsilon, kernels)
        branch_BTC = _drop(model.drop, _attend(block.self_attn, normed_BTC, angles_TE, epsilon, kernels), kernels)
        x_BTC, normed_BTC = _add_norm(x_BTC, branch_BTC, block.post_attention_layernorm.weight, epsilon, kernels)
        branch_BTC = _drop(model.drop, _mlp(block.mlp, normed_BTC, kernels), kernels)
    return _add_norm(x_BTC, branch_BTC, model.norm.weight, epsilon, kernels)[1]


def _add_norm(
    x_BTC: torch.Tensor, branch_BTC: torch.Tensor | None, gain_C: torch.Tensor, epsilon: float, kernels: Kernels
) -> tuple[torch.Tensor, torch.Tensor]:
    if branch_BTC is None:
        return x_BTC, _call(Norm, x_BTC, gain_C, epsilon, kernels)
    total_BTC, normed_BTC = _call(AddNorm, x_BTC, branch_BTC, gain_C, epsilon, kernels)
    return total_BTC, normed_BTC


def _attend(
    attention: "Attention", x_BTC: torch.Tensor, angles_TE: Angles, epsilon: float, kernels: Kernels
) -> torch.Tensor:
    gains = [getattr(norm, "weight", None) for norm in (attention.q_norm, attention.k_norm)]
    forms = (
        HeadForm(gains[0], angles_TE, attention.head_dim**-0.5, epsilon),
        HeadForm(gains[1], angles_TE, 1.0, epsilon),
        HeadForm(),
    )
    heads = (attention.n_heads, attention.n_kv_heads, attention.n_kv_heads)
    packed_BTP = _project(x_BTC, kernels, attention.q_proj, attention.k_proj, attention.v_proj)
    q_BHTD, k_BHTD, v_BHTD = _call(SplitHeads, packed_BTP, heads, forms, kernels, *gains, None)
    if kernels.attends and x_BTC.dtype is torch.bfloat16:
        return _project(_call(NativeAttention, q_BHTD, k_BHTD, v_BHTD, kernels), kernels, attention.o_proj)
    group = attention.n_heads // attention.n_kv_heads
    if group > 1:
        k_BHTD, v_BHTD = (x.repeat_interleave(group, dim=1) for x in (k_BHTD, v_BHTD))
    y_NTD = blocked_attention(*(x.flatten(0, 1) for x in (q_BHTD, k_BHTD, v_BHTD)), kernels=kernels)
    return _project(_call(JoinHeads, y_NTD.view_as(q_BHTD), kernels), kernels, attention.o_proj)


def _mlp(mlp: "MLP", x_BTC: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    if kernels.int8:
        weights = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight
        out_BTC: torch.Tensor = _call(
            QuantizedMLP, x_BTC, kernels, mlp.gate_proj.rounded, mlp.down_proj.rounded, *weights
        )
        return out_BTC
    packed_BTP = _project(x_BTC, kernels, mlp.gate_proj, mlp.up_proj)
    return _project(_call(SwiGLU, packed_BTP, kernels), kernels, mlp.down_proj)


def _project(x_BTC: torch.Tensor, kernels: Kernels, *projections: "Linear") -> torch.Tensor:
    weights = [projection.weight for projection in projections]
    if kernels.int8:
        out_BTP: torch.Tensor = _call(QuantizedLinear, x_BTC, kernels, projections[0].rounded, *weights)
    else:
        out_BTP = _call(PackedLinear, x_BTC, *weights)
    return out_BTP


def _drop(drop: RowDropout, x_BTC: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    keep_BTC = drop.mask(x_BTC)
    return x_BTC if keep_BTC is None else _call(Drop, x_BTC, keep_BTC, drop.factor, kernels)


def _call(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)  # type: ignore[no-untyped-call]
