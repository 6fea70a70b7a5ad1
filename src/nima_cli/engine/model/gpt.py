"""The decoder: token ids in, logits out, in the public layouts of Llama, Mistral, Qwen2 and Qwen3 (dense).

Pre-norm RMSNorm (1910.07467), rotary positions (2104.09864), grouped-query attention (2305.13245), SwiGLU (2002.05202).
Qwen3, which nima makes from random weights, has per-head QK-norm (2302.05442), Qwen2 has biases at queries, keys and
values, Llama and Mistral have neither. Parameters have the names of Hugging Face's models. Weights are float32, or
what they were loaded in where they are not trained, and are cast where they are used.

Axis letters: B batch · T time · C width · H query heads · G key and value heads · D head width · E half of it ·
F hidden width of the MLP · V vocabulary
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.dropout import RowDropout
from nima_cli.engine.model.shape import ModelShape

EMBEDDING_STD = 0.02


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input."""

    bias: torch.Tensor | None  # type: ignore[assignment]  # torch says that it is always there

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype) if self.bias is not None else None)


class Embedding(nn.Embedding):
    """One vector for each token id."""

    def reset_parameters(self) -> None:
        """Draw nothing: on the meta device torch would import a compiler for it, which takes longer than loading."""


class RMSNorm(nn.Module):
    """RMSNorm over the last axis with a learned gain."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape out as in."""
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.epsilon)


class Rotary(nn.Module):
    """Cosines and sines of the rotary angles for the whole context."""

    cos_TE: torch.Tensor
    sin_TE: torch.Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        cos_TE, sin_TE = self.table(shape)
        self.register_buffer("cos_TE", cos_TE, persistent=False)
        self.register_buffer("sin_TE", sin_TE, persistent=False)

    @staticmethod
    def table(shape: ModelShape) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute both `[context, E]` on the CPU: on the meta device torch would import a compiler for it."""
        exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32, device="cpu") / shape.head_dim
        frequencies_E, scaling = shape.rope_theta**-exponents, shape.rope_scaling
        if scaling is not None:
            frequencies_E = torch.tensor(scaling.scaled(frequencies_E.tolist(), shape.rope_theta), device="cpu")
        positions = torch.arange(shape.context_length, dtype=torch.float32, device="cpu")
        angles_TE = torch.outer(positions, frequencies_E)
        factor = scaling.attention_factor if scaling is not None else 1.0
        return angles_TE.cos() * factor, angles_TE.sin() * factor

    def slice(self, start: int, length: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines `[length, E]` from position `start` on."""
        end = start + length
        return self.cos_TE[start:end].to(dtype), self.sin_TE[start:end].to(dtype)


def rotate(x_BHTD: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor) -> torch.Tensor:
    """Rotate each head by its position's angle; the two halves of D are the two coordinates."""
    first, second = x_BHTD.chunk(2, dim=-1)
    rotated_first = torch.addcmul(first * cos_TE, second, sin_TE, value=-1)
    return torch.cat((rotated_first, torch.addcmul(second * cos_TE, first, sin_TE)), dim=-1)


class InnerAttention(nn.Module):
    """Scaled dot-product attention, without the projections."""

    def forward(self, q_BHTD: torch.Tensor, k_BGTD: torch.Tensor, v_BGTD: torch.Tensor) -> torch.Tensor:
        """Queries are the last positions of the keys; each sees the keys up to its own."""
        time, past = q_BHTD.shape[2], k_BGTD.shape[2] - q_BHTD.shape[2]
        mask = None
        if past and time > 1:  # `is_causal` would align the corner wrongly
            mask = torch.ones(time, past + time, dtype=torch.bool, device=q_BHTD.device).tril(past)
        return F.scaled_dot_product_attention(
            q_BHTD,
            k_BGTD,
            v_BGTD,
            attn_mask=mask,
            is_causal=mask is None and time > 1,
            enable_gqa=k_BGTD.shape[1] != q_BHTD.shape[1],
        )


class Attention(nn.Module):
    """Causal self-attention with grouped keys and values."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = shape.n_heads, shape.n_kv_heads, shape.head_dim
        self.q_proj = Linear(shape.d_model, shape.n_heads * shape.head_dim, bias=shape.qkv_bias)
        self.k_proj = Linear(shape.d_model, shape.n_kv_heads * shape.head_dim, bias=shape.qkv_bias)
        self.v_proj = Linear(shape.d_model, shape.n_kv_heads * shape.head_dim, bias=shape.qkv_bias)
        self.o_proj = Linear(shape.n_heads * shape.head_dim, shape.d_model)
        self.q_norm: nn.Module = RMSNorm(shape.head_dim, shape.norm_epsilon) if shape.qk_norm else nn.Identity()
        self.k_norm: nn.Module = RMSNorm(shape.head_dim, shape.norm_epsilon) if shape.qk_norm else nn.Identity()
        self.inner_attention: nn.Module = InnerAttention()

    def forward(
        self, x_BTC: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor, cache: KVCache | None, layer: int
    ) -> torch.Tensor:
        """`[B, T, C]` to `[B, T, C]`; with a cache, the positions follow those that it holds."""
        batch, time, _ = x_BTC.shape
        q_BHTD = self.q_norm(self.q_proj(x_BTC).view(batch, time, self.n_heads, self.head_dim)).transpose(1, 2)
        k_BGTD = self.k_norm(self.k_proj(x_BTC).view(batch, time, self.n_kv_heads, self.head_dim)).transpose(1, 2)
        v_BGTD = self.v_proj(x_BTC).view(batch, time, self.n_kv_heads, self.head_dim).transpose(1, 2)
        q_BHTD, k_BGTD = rotate(q_BHTD, cos_TE, sin_TE), rotate(k_BGTD, cos_TE, sin_TE)
        if cache is not None:
            k_BGTD, v_BGTD = cache.extend(layer, k_BGTD, v_BGTD)
        y_BHTD = self.inner_attention(q_BHTD, k_BGTD, v_BGTD)
        out_BTC: torch.Tensor = self.o_proj(y_BHTD.transpose(1, 2).reshape(batch, time, -1))
        return out_BTC


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
    """One layer: attention and MLP, each on the normalised residual stream."""

    def __init__(self, shape: ModelShape, drop: RowDropout) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.d_model, shape.norm_epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.d_model, shape.norm_epsilon)
        self.mlp = MLP(shape)
        self.drop = drop

    def forward(
        self, x_BTC: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor, cache: KVCache | None, layer: int
    ) -> torch.Tensor:
        """`[B, T, C]` to `[B, T, C]`."""
        x_BTC = x_BTC + self.drop(self.self_attn(self.input_layernorm(x_BTC), cos_TE, sin_TE, cache, layer))
        out_BTC: torch.Tensor = x_BTC + self.drop(self.mlp(self.post_attention_layernorm(x_BTC)))
        return out_BTC


class GPT(nn.Module):
    """The decoder; `dropout` acts on the embedding and the residual branches, `compute_dtype` on activations only."""

    def __init__(self, shape: ModelShape, *, dropout: float = 0.0, compute_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape = shape
        self.drop = RowDropout(dropout)
        self.lora_drop: RowDropout | None = None
        self.compute_dtype = compute_dtype
        self.embed_tokens = Embedding(shape.vocab_size, shape.d_model)
        self.layers = nn.ModuleList(Block(shape, self.drop) for _ in range(shape.n_layers))
        self.norm = RMSNorm(shape.d_model, shape.norm_epsilon)
        self.lm_head = None if shape.tie_embeddings else Linear(shape.d_model, shape.vocab_size)
        self.rotary = Rotary(shape)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Set every parameter from `seed` on the CPU's generator, so that every device starts equal.

        | tensor                        | start                                    |
        |-------------------------------|------------------------------------------|
        | embeddings, untied head       | normal, deviation 0.02                   |
        | q, k, v, gate, up projections | uniform with variance 1 / inputs         |
        | o and down projections        | zero, so that each block starts as a copy |
        | norm gains                    | one                                      |
        | biases                        | zero                                     |
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            values = torch.empty(parameter.shape)
            if name.endswith("norm.weight"):
                values.fill_(1.0)
            elif name.endswith(("o_proj.weight", "down_proj.weight", "bias")):
                values.zero_()
            elif name.startswith(("embed_tokens", "lm_head")):
                values.normal_(0.0, EMBEDDING_STD, generator=generator)
            else:
                bound = math.sqrt(3.0 / parameter.shape[1])
                values.uniform_(-bound, bound, generator=generator)
            parameter.copy_(values)

    @property
    def drops(self) -> list[RowDropout]:
        """All that draws random numbers in training."""
        return [drop for drop in (self.drop, self.lora_drop) if drop is not None]

    @property
    def head_weight_VC(self) -> torch.Tensor:
        """The output matrix, which may be the embedding."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def embed(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Token ids to the first layer's input, `[B, T, C]` in the compute type."""
        x_BTC: torch.Tensor = self.drop(F.embedding(ids_BT, self.embed_tokens.weight).to(self.compute_dtype))
        return x_BTC

    def hidden(self, ids_BT: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        """Token ids to the normalised states `[B, T, C]` after the last layer."""
        start = cache.length if cache is not None else 0
        cos_TE, sin_TE = self.rotary.slice(start, ids_BT.shape[1], self.compute_dtype)
        x_BTC = self.embed(ids_BT)
        for index, layer in enumerate(self.layers):
            x_BTC = layer(x_BTC, cos_TE, sin_TE, cache, index)
        if cache is not None:
            cache.length += ids_BT.shape[1]
        normed_BTC: torch.Tensor = self.norm(x_BTC)
        return normed_BTC

    def forward(self, ids_BT: torch.Tensor, cache: KVCache | None = None, *, last_only: bool = False) -> torch.Tensor:
        """Token ids to float32 logits `[B, T, V]`, or `[B, 1, V]` of the last position only; extends the cache."""
        h_BTC = self.hidden(ids_BT, cache)
        if last_only:
            h_BTC = h_BTC[:, -1:]
        return F.linear(h_BTC, self.head_weight_VC.to(h_BTC.dtype)).float()
