"""The forward pass of `gpt.py` for training on a CPU, with compiled kernels between the matrix products.

Equal to `GPT.hidden` up to rounding: a kernel rounds to bfloat16 once, not after each operation.

Axis letters: B batch · T time · C width · H heads · D head width · E half of it · N sequences and heads ·
P outputs of several projections, side by side
"""

import weakref
from functools import partial
from typing import Any, cast

import torch

from nima_cli.engine.kernels.blocked_attention import blocked_attention
from nima_cli.engine.kernels.functions import (
    AddBias,
    AddNorm,
    Drop,
    HeadTransform,
    JoinHeads,
    NativeAttention,
    PackedLinear,
    SplitHeads,
    SwiGLU,
)
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.quantized import Int8WeightCache, QuantizedLinear, QuantizedMLP
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT, MLP, Attention, Block, Linear
from nima_cli.engine.model.recompute import recomputed


class NativeForward:
    """Replaces a model's `hidden` in training."""

    def __init__(self, model: GPT, kernels: Kernels) -> None:
        # The model holds this object: a reference cycle would keep its memory after the last use.
        self._model = cast(GPT, weakref.proxy(model))
        self._kernels = kernels
        self._weights = Int8WeightCache(kernels)
        self.recompute = False

    def __call__(self, ids_BT: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        """As `GPT.hidden`, which evaluation and inference still run, so that no compiler changes their results."""
        if cache is not None or not torch.is_grad_enabled():
            return GPT.hidden(self._model, ids_BT, cache)
        time = ids_BT.shape[1]
        branch_BTC: torch.Tensor | None = None
        angles_TE = self._model.rotary.cos_TE[:time], self._model.rotary.sin_TE[:time]
        x_BTC = self._model.embed(ids_BT)
        for layer in self._model.layers:
            run = partial(self._layer, cast(Block, layer), angles_TE)
            if self.recompute:
                x_BTC, branch_BTC = recomputed(run, (x_BTC, branch_BTC), layer.parameters(), self._model.drops)
            else:
                x_BTC, branch_BTC = run(x_BTC, branch_BTC)
        return self._add_norm(x_BTC, branch_BTC, self._model.norm.weight)[1]

    def _layer(
        self,
        block: Block,
        angles_TE: tuple[torch.Tensor, torch.Tensor],
        x_BTC: torch.Tensor,
        branch_BTC: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From the residual stream and what is to be added to it to the same after the layer."""
        x_BTC, normed_BTC = self._add_norm(x_BTC, branch_BTC, block.input_layernorm.weight)
        branch_BTC = self._drop(self._attend(block.self_attn, normed_BTC, angles_TE))
        x_BTC, normed_BTC = self._add_norm(x_BTC, branch_BTC, block.post_attention_layernorm.weight)
        return x_BTC, self._drop(self._mlp(block.mlp, normed_BTC))

    def _add_norm(
        self, x_BTC: torch.Tensor, branch_BTC: torch.Tensor | None, gain_C: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The residual stream with the branch added, and its norm."""
        if branch_BTC is None:
            return x_BTC, _call(AddNorm, x_BTC, None, gain_C, self._model.shape.norm_epsilon, self._kernels)
        total_BTC, normed_BTC = _call(AddNorm, x_BTC, branch_BTC, gain_C, self._model.shape.norm_epsilon, self._kernels)
        return total_BTC, normed_BTC

    def _attend(
        self, attention: Attention, x_BTC: torch.Tensor, angles_TE: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        kernels = self._kernels
        gains = [getattr(norm, "weight", None) for norm in (attention.q_norm, attention.k_norm)]
        forms = (
            HeadTransform(gains[0], angles_TE, attention.head_dim**-0.5, self._model.shape.norm_epsilon),
            HeadTransform(gains[1], angles_TE, 1.0, self._model.shape.norm_epsilon),
            HeadTransform(),
        )
        heads = (attention.n_heads, attention.n_kv_heads, attention.n_kv_heads)
        packed_BTP = self._project(x_BTC, attention.q_proj, attention.k_proj, attention.v_proj)
        q_BHTD, k_BHTD, v_BHTD = _call(SplitHeads, packed_BTP, heads, forms, kernels, *gains, None)
        if kernels.attends and x_BTC.dtype is torch.bfloat16:
            return self._project(_call(NativeAttention, q_BHTD, k_BHTD, v_BHTD, kernels), attention.o_proj)
        group = attention.n_heads // attention.n_kv_heads
        if group > 1:
            k_BHTD, v_BHTD = (x.repeat_interleave(group, dim=1) for x in (k_BHTD, v_BHTD))
        y_NTD = blocked_attention(*(x.flatten(0, 1) for x in (q_BHTD, k_BHTD, v_BHTD)), kernels=kernels)
        return self._project(_call(JoinHeads, y_NTD.view_as(q_BHTD), kernels), attention.o_proj)

    def _mlp(self, mlp: MLP, x_BTC: torch.Tensor) -> torch.Tensor:
        if not self._kernels.int8 or not mlp.down_proj.weight.requires_grad:
            packed_BTP = self._project(x_BTC, mlp.gate_proj, mlp.up_proj)
            return self._project(_call(SwiGLU, packed_BTP, self._kernels), mlp.down_proj)
        inner, outer = (mlp.gate_proj.weight, mlp.up_proj.weight), (mlp.down_proj.weight,)
        packed = self._weights.of(inner), self._weights.of(outer)
        out_BTC: torch.Tensor = _call(QuantizedMLP, x_BTC, self._kernels, *packed, *inner, *outer)
        return out_BTC

    def _project(self, x_BTC: torch.Tensor, *projections: Linear) -> torch.Tensor:
        """The results of projections of one input, side by side."""
        if not projections[0].weight.requires_grad:  # frozen, with adapters beside them
            parts = [projection(x_BTC) for projection in projections]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        weights = [projection.weight for projection in projections]
        biases = [projection.bias for projection in projections if projection.bias is not None]
        assert len(biases) in (0, len(projections)), "all have one, or none"
        bias_P = torch.cat(biases) if biases else None
        if not self._kernels.int8:
            packed_BTP: torch.Tensor = _call(PackedLinear, x_BTC, bias_P, *weights)
            return packed_BTP
        out_BTP: torch.Tensor = _call(QuantizedLinear, x_BTC, self._kernels, self._weights.of(weights), *weights)
        return out_BTP if bias_P is None else cast(torch.Tensor, _call(AddBias, out_BTP, bias_P))

    def _drop(self, x_BTC: torch.Tensor) -> torch.Tensor:
        drop = self._model.drop
        keep_BTC = drop.mask(x_BTC)
        return x_BTC if keep_BTC is None else _call(Drop, x_BTC, keep_BTC, drop.factor, self._kernels)


def _call(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    return function.apply(*arguments)  # type: ignore[no-untyped-call]
