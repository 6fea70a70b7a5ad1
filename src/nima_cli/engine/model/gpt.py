"""The decoder: token ids in, logits out, in the public Qwen3 dense layout; knows no data, no loss, no optimizer.

Pre-norm RMSNorm (1910.07467), rotary positions (2104.09864), grouped-query attention (2305.13245) with per-head
QK-norm (2302.05442), SwiGLU (2002.05202), no biases, tied embeddings. Parameter names are those of Hugging Face's
`Qwen3Model`, so that a checkpoint maps to it 1:1; without `qk_norm` they are Llama's.

Master weights are float32. `compute_dtype` is the type of activations: each weight is cast where it is used, so small
updates are never lost to 16 bit.

Axis letters: B batch · T time · C width · H heads · D head width · E half of it · F hidden width of the MLP ·
V vocabulary
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from nima_cli.engine.kernels.blocked_attention import blocked_attention
from nima_cli.engine.kernels.forward import native_hidden
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.kernels.quantized import RoundedWeights
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.dropout import RowDropout
from nima_cli.engine.model.shape import ModelShape

NORM_EPSILON = 1e-6
EMBEDDING_STD = 0.02


class Linear(nn.Linear):
    """A matrix product without bias, in the type of its input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.rounded = RoundedWeights()  # of this projection and those that are computed with it

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        return F.linear(x, self.weight.to(x.dtype))


class Embedding(nn.Embedding):
    """One vector for each token id."""

    def reset_parameters(self) -> None:
        """Leave them as they are: `init_weights` or a checkpoint fills them.

        Where a model is built without memory, to be loaded, torch would import a compiler to draw this start, and that
        takes longer than all the rest of loading.
        """


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis, times a learned gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape out as in."""
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), NORM_EPSILON)


class Rotary(nn.Module):
    """Cosines and sines of the rotary angles, precomputed for the whole context."""

    cos_TE: torch.Tensor
    sin_TE: torch.Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        cos_TE, sin_TE = self.table(shape)
        self.register_buffer("cos_TE", cos_TE, persistent=False)
        self.register_buffer("sin_TE", sin_TE, persistent=False)

    @staticmethod
    def table(shape: ModelShape) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines `[context, E]` on the CPU, a pure function of the shape: they are in no checkpoint.

        Also where a model is built without memory to be loaded; there, torch would import a compiler to count to ten.
        """
        exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32, device="cpu") / shape.head_dim
        positions = torch.arange(shape.context_length, dtype=torch.float32, device="cpu")
        angles_TE = torch.outer(positions, shape.rope_theta**-exponents)
        return angles_TE.cos(), angles_TE.sin()

    def slice(self, start: int, length: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines `[length, E]` of positions `start` to `start + length`."""
        end = start + length
        return self.cos_TE[start:end].to(dtype), self.sin_TE[start:end].to(dtype)


def rotate(x_BHTD: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor) -> torch.Tensor:
    """Turn each head by its position's angle; the two halves of D are the two coordinates."""
    first, second = x_BHTD.chunk(2, dim=-1)
    turned_first = torch.addcmul(first * cos_TE, second, sin_TE, value=-1)
    return torch.cat((turned_first, torch.addcmul(second * cos_TE, first, sin_TE)), dim=-1)


class Attention(nn.Module):
    """Causal self-attention with grouped keys and values."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = shape.n_heads, shape.n_kv_heads, shape.head_dim
        self.q_proj = Linear(shape.d_model, shape.n_heads * shape.head_dim)
        self.k_proj = Linear(shape.d_model, shape.n_kv_heads * shape.head_dim)
        self.v_proj = Linear(shape.d_model, shape.n_kv_heads * shape.head_dim)
        self.o_proj = Linear(shape.n_heads * shape.head_dim, shape.d_model)
        self.q_norm: nn.Module = RMSNorm(shape.head_dim) if shape.qk_norm else nn.Identity()
        self.k_norm: nn.Module = RMSNorm(shape.head_dim) if shape.qk_norm else nn.Identity()

    def forward(
        self, x_BTC: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor, cache: KVCache | None, layer: int
    ) -> torch.Tensor:
        """`[B, T, C]` to `[B, T, C]`; with a cache, the T positions follow those it holds."""
        batch, time, _ = x_BTC.shape
        q_BHTD = self.q_norm(self.q_proj(x_BTC).view(batch, time, self.n_heads, self.head_dim)).transpose(1, 2)
        k_BHTD = self.k_norm(self.k_proj(x_BTC).view(batch, time, self.n_kv_heads, self.head_dim)).transpose(1, 2)
        v_BHTD = self.v_proj(x_BTC).view(batch, time, self.n_kv_heads, self.head_dim).transpose(1, 2)
        q_BHTD, k_BHTD = rotate(q_BHTD, cos_TE, sin_TE), rotate(k_BHTD, cos_TE, sin_TE)
        mask = None
        if cache is not None:
            past = cache.length
            k_BHTD, v_BHTD = cache.extend(layer, k_BHTD, v_BHTD)
            if past and time > 1:  # row t sees the past and itself; `is_causal` would align the corner wrongly
                mask = torch.ones(time, past + time, dtype=torch.bool, device=x_BTC.device).tril(past)
        if cache is None and x_BTC.device.type == "cpu" and torch.is_grad_enabled():
            y_BHTD = self._blocked(q_BHTD, k_BHTD, v_BHTD)
        else:
            y_BHTD = F.scaled_dot_product_attention(
                q_BHTD,
                k_BHTD,
                v_BHTD,
                attn_mask=mask,
                is_causal=mask is None and time > 1,
                enable_gqa=self.n_kv_heads != self.n_heads,
            )
        out_BTC: torch.Tensor = self.o_proj(y_BHTD.transpose(1, 2).reshape(batch, time, -1))
        return out_BTC

    def _blocked(self, q_BHTD: torch.Tensor, k_BHTD: torch.Tensor, v_BHTD: torch.Tensor) -> torch.Tensor:
        """The same attention with batch and heads in one axis, each group of queries beside its keys and values."""
        group = self.n_heads // self.n_kv_heads
        q_NTD = (q_BHTD * self.head_dim**-0.5).flatten(0, 1)
        k_NTD, v_NTD = (x.repeat_interleave(group, dim=1).flatten(0, 1) for x in (k_BHTD, v_BHTD))
        return blocked_attention(q_NTD, k_NTD, v_NTD).view_as(q_BHTD)


class MLP(nn.Module):
    """SwiGLU: a gate, an input and an output projection."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.d_model, shape.d_ff)
        self.up_proj = Linear(shape.d_model, shape.d_ff)
        self.down_proj = Linear(shape.d_ff, shape.d_model)

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """`[B, T, C]` to `[B, T, C]` through `[B, T, F]`."""
        out_BTC: torch.Tensor = self.down_proj(F.silu(self.gate_proj(x_BTC)) * self.up_proj(x_BTC))
        return out_BTC


class Block(nn.Module):
    """One layer: attention and MLP, each on a normalised copy of the residual stream."""

    def __init__(self, shape: ModelShape, drop: RowDropout) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.d_model)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.d_model)
        self.mlp = MLP(shape)
        self.drop = drop

    def forward(
        self, x_BTC: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor, cache: KVCache | None, layer: int
    ) -> torch.Tensor:
        """`[B, T, C]` to `[B, T, C]`."""
        keeps_BTC = self.drop.mask(x_BTC), self.drop.mask(x_BTC)
        return self.through(x_BTC, cos_TE, sin_TE, keeps_BTC, cache, layer)

    def through(
        self,
        x_BTC: torch.Tensor,
        cos_TE: torch.Tensor,
        sin_TE: torch.Tensor,
        keeps_BTC: tuple[torch.Tensor | None, torch.Tensor | None],
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> torch.Tensor:
        """The same from masks that have been drawn: without a cache, arithmetic alone, which can be compiled."""
        attended_BTC = self.self_attn(self.input_layernorm(x_BTC), cos_TE, sin_TE, cache, layer)
        x_BTC = x_BTC + self.drop.apply_mask(attended_BTC, keeps_BTC[0])
        mapped_BTC = self.mlp(self.post_attention_layernorm(x_BTC))
        return x_BTC + self.drop.apply_mask(mapped_BTC, keeps_BTC[1])


class GPT(nn.Module):
    """The whole decoder.

    Args:
        shape: every size.
        dropout: on the embedding and the residual branches, while training.
        compute_dtype: type of the activations; parameters stay float32 until the caller converts them.
        kernels: what to train with on a CPU; None is torch alone.

    Attributes:
        compiled_block: `Block.through` as a compiled program, for training; None runs the blocks as they are.
    """

    def __init__(
        self,
        shape: ModelShape,
        *,
        dropout: float = 0.0,
        compute_dtype: torch.dtype = torch.float32,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.kernels = kernels
        self.compiled_block: Callable[..., torch.Tensor] | None = None
        self.drop = RowDropout(dropout)
        self.compute_dtype = compute_dtype
        self.embed_tokens = Embedding(shape.vocab_size, shape.d_model)
        self.layers = nn.ModuleList(Block(shape, self.drop) for _ in range(shape.n_layers))
        self.norm = RMSNorm(shape.d_model)
        self.lm_head = None if shape.tie_embeddings else Linear(shape.d_model, shape.vocab_size)
        self.rotary = Rotary(shape)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Set every parameter from `seed` alone, on the CPU's generator, so that every device starts equal.

        | tensor                        | start                                    |
        |-------------------------------|------------------------------------------|
        | embeddings, untied head       | normal, deviation 0.02                   |
        | q, k, v, gate, up projections | uniform with variance 1 / inputs         |
        | o and down projections        | zero, so that each block starts as a copy |
        | norm gains                    | one                                      |
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            values = torch.empty(parameter.shape)
            if name.endswith("norm.weight"):
                values.fill_(1.0)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                values.zero_()
            elif name.startswith(("embed_tokens", "lm_head")):
                values.normal_(0.0, EMBEDDING_STD, generator=generator)
            else:
                bound = math.sqrt(3.0 / parameter.shape[1])
                values.uniform_(-bound, bound, generator=generator)
            parameter.copy_(values)

    @property
    def head_weight_VC(self) -> torch.Tensor:
        """The output matrix, which may be the embedding."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def hidden(self, ids_BT: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        """Token ids to the last layer's normalised states `[B, T, C]`, for a loss that makes its own logits."""
        start = cache.length if cache is not None else 0
        x_BTC = F.embedding(ids_BT, self.embed_tokens.weight).to(self.compute_dtype)
        x_BTC = self.drop(x_BTC)
        if self.kernels is not None and self.kernels.fit(x_BTC) and cache is None and torch.is_grad_enabled():
            return native_hidden(self, x_BTC, self.kernels, NORM_EPSILON)
        cos_TE, sin_TE = self.rotary.slice(start, ids_BT.shape[1], self.compute_dtype)
        for index, layer in enumerate(self.layers):
            if self.compiled_block is not None and cache is None and torch.is_grad_enabled():
                keeps_BTC = self.drop.mask(x_BTC), self.drop.mask(x_BTC)
                x_BTC = self.compiled_block(layer, x_BTC, cos_TE, sin_TE, keeps_BTC)
            else:
                x_BTC = layer(x_BTC, cos_TE, sin_TE, cache, index)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        normed_BTC: torch.Tensor = self.norm(x_BTC)
        return normed_BTC

    def forward(self, ids_BT: torch.Tensor, cache: KVCache | None = None, *, last_only: bool = False) -> torch.Tensor:
        """Token ids to float32 logits `[B, T, V]`, or `[B, 1, V]` of the last position only.

        With a cache, the ids follow the positions that it holds, and it is extended by them.
        """
        h_BTC = self.hidden(ids_BT, cache)
        if last_only:
            h_BTC = h_BTC[:, -1:]
        return F.linear(h_BTC, self.head_weight_VC.to(h_BTC.dtype)).float()
