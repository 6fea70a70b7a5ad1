"""The resolved shape of a model, with parameter and FLOP counts; does not import torch."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from nima_cli.config.schema import ModelConfig
from nima_cli.engine.model.rope_scaling import RopeScaling
from nima_cli.errors import ConfigError

NORM_EPSILON = 1e-6  # of the models that nima makes

# Also of a shape in a file: its header may not claim all memory.
MAX_PARAMETERS = 20_000_000_000
_LIMITS = {
    "vocab_size": 1 << 20, "n_layers": 1024, "d_model": 1 << 16, "n_heads": 1024, "n_kv_heads": 1024,
    "head_dim": 1 << 12, "d_ff": 1 << 18, "context_length": 1 << 20,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Every number that fixes a model's tensors and what it computes from them.

    Attributes:
        vocab_size: rows of the embedding; some may belong to no token.
        head_dim: width of one attention head.
        context_length: positions that the model was made for.
        qkv_bias: whether the query, key and value projections have biases, as in Qwen2.
        norm_epsilon: what RMSNorm adds to the mean square.
        rope_scaling: None for plain rotary positions.
    """

    vocab_size: int
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    context_length: int
    qk_norm: bool
    tie_embeddings: bool
    rope_theta: float
    qkv_bias: bool = False
    norm_epsilon: float = NORM_EPSILON
    rope_scaling: RopeScaling | None = None

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in the order of `GPT.named_parameters`."""
        width, heads, groups = self.d_model, self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (self.vocab_size, width)}
        for layer in range(self.n_layers):
            at = f"layers.{layer}"
            shapes[f"{at}.input_layernorm.weight"] = (width,)
            for name, rows in (("q", heads), ("k", groups), ("v", groups)):
                shapes[f"{at}.self_attn.{name}_proj.weight"] = (rows, width)
                if self.qkv_bias:
                    shapes[f"{at}.self_attn.{name}_proj.bias"] = (rows,)
            shapes[f"{at}.self_attn.o_proj.weight"] = (width, heads)
            if self.qk_norm:
                shapes[f"{at}.self_attn.q_norm.weight"] = (self.head_dim,)
                shapes[f"{at}.self_attn.k_norm.weight"] = (self.head_dim,)
            shapes[f"{at}.post_attention_layernorm.weight"] = (width,)
            shapes[f"{at}.mlp.gate_proj.weight"] = (self.d_ff, width)
            shapes[f"{at}.mlp.up_proj.weight"] = (self.d_ff, width)
            shapes[f"{at}.mlp.down_proj.weight"] = (width, self.d_ff)
        shapes["norm.weight"] = (width,)
        if not self.tie_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, width)
        return shapes

    def parameters(self) -> int:
        """Number of parameters, tied weights counted once; a closed form, so that a hostile shape costs nothing."""
        attention = 2 * self.d_model * self.head_dim * (self.n_heads + self.n_kv_heads)
        block = attention + 3 * self.d_model * self.d_ff
        embeddings = self.vocab_size * self.d_model * (1 if self.tie_embeddings else 2)
        return self.n_layers * block + embeddings + self._vector_parameters()

    def _vector_parameters(self) -> int:
        """Parameters of norms and biases."""
        per_head_norms = 2 * self.head_dim if self.qk_norm else 0
        biases = self.head_dim * (self.n_heads + 2 * self.n_kv_heads) if self.qkv_bias else 0
        return self.n_layers * (2 * self.d_model + per_head_norms + biases) + self.d_model

    def flops_per_token(self) -> int:
        """FLOPs to train on one token: 6 N_matmul + 12 L H D T (PaLM, appendix B, 2204.02311)."""
        lookups = 0 if self.tie_embeddings else self.vocab_size * self.d_model
        matmul = self.parameters() - self._vector_parameters() - lookups
        return 6 * matmul + 12 * self.n_layers * self.n_heads * self.head_dim * self.context_length

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "ModelShape":
        """Read a shape from untrusted values; ValueError says what is wrong with them."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(f"the model shape does not have exactly its {len(names)} keys")
        for name, limit in _LIMITS.items():
            if type(values[name]) is not int or not 1 <= values[name] <= limit:
                raise ValueError(f"`{name}` is {values[name]!r}, expected an int from 1 to {limit}")
        for name in ("qk_norm", "tie_embeddings", "qkv_bias"):
            if type(values[name]) is not bool:
                raise ValueError(f"`{name}` is {values[name]!r}, expected true or false")
        for name, low, high in (("rope_theta", 1.0, 1e12), ("norm_epsilon", 0.0, 1.0)):
            if type(values[name]) not in (int, float) or not low < values[name] < high:
                raise ValueError(f"`{name}` is {values[name]!r}, expected a number between {low:g} and {high:g}")
        scaling = RopeScaling.from_dict(values["rope_scaling"]) if values["rope_scaling"] is not None else None
        shape = cls(**{**values, "rope_scaling": scaling})
        if shape.head_dim % 2 or shape.n_heads % shape.n_kv_heads:
            raise ValueError("`head_dim` is odd, or `n_kv_heads` does not divide `n_heads`")
        if shape.parameters() > MAX_PARAMETERS:
            raise ValueError(f"{shape.parameters():,} parameters are beyond the limit of {MAX_PARAMETERS:,}")
        return shape


def resolve(model: ModelConfig, vocab_size: int) -> ModelShape:
    """Resolve what the user left open; ConfigError if sizes are missing or the model would be absurdly large."""
    if model.n_layers is None or model.d_model is None or model.n_heads is None:
        raise ConfigError(
            "`model`: without a preset, `n_layers`, `d_model` and `n_heads` must be given", hint="or set `model.preset`"
        )
    # SwiGLU has three matrices where a plain MLP has two: 8/3 of the width costs the same (Shazeer, 2002.05202).
    d_ff = model.d_ff or max(32, round(model.d_model * 8 / 3 / 32) * 32)
    try:
        scaling = RopeScaling.from_dict(model.rope_scaling) if model.rope_scaling is not None else None
    except ValueError as error:
        raise ConfigError(f"`model`: {error}") from None
    shape = ModelShape(
        vocab_size=model.vocab_size or vocab_size,
        n_layers=model.n_layers,
        d_model=model.d_model,
        n_heads=model.n_heads,
        n_kv_heads=model.n_kv_heads or model.n_heads,
        head_dim=model.head_dim or model.d_model // model.n_heads,
        d_ff=d_ff,
        context_length=model.context_length or 512,
        qk_norm=model.qk_norm,
        tie_embeddings=model.tie_embeddings,
        rope_theta=model.rope_theta,
        qkv_bias=model.qkv_bias,
        norm_epsilon=model.norm_epsilon,
        rope_scaling=scaling,
    )
    if shape.parameters() > MAX_PARAMETERS:
        raise ConfigError(f"`model`: {shape.parameters():,} parameters are more than nima trains")
    return shape
