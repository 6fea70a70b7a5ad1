"""How other programs call the tensors of a model of this shape, and how they order the rows of some; no torch needed.

nima's own names are those of Hugging Face's models without the `model.` before all but the head.
"""

import re
from typing import TYPE_CHECKING

from nima_cli.engine.model.shape import ModelShape

if TYPE_CHECKING:
    import torch

_GGUF_NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def architecture(shape: ModelShape) -> str:
    """What GGUF calls models that compute as this one does; Mistral's are `llama` there, too."""
    if shape.qk_norm:
        return "qwen3"
    return "qwen2" if shape.qkv_bias else "llama"


def hf_name(name: str) -> str:
    """Hugging Face's name of a tensor."""
    return name if name.startswith("lm_head") else f"model.{name}"


def gguf_name(name: str) -> str:
    """GGUF's name of a tensor: `blk.0.ffn_up.weight` for `layers.0.mlp.up_proj.weight`."""
    *module, kind = name.split(".")
    if module[0] != "layers":
        return f"{_GGUF_NAMES['.'.join(module)]}.{kind}"
    return f"blk.{module[1]}.{_GGUF_NAMES['.'.join(module[2:])]}.{kind}"


def rope_layout(name: str, tensor: "torch.Tensor", shape: ModelShape, *, back: bool = False) -> "torch.Tensor":
    """Put the rows of the query and key matrices in the order in which GGUF's architecture rotates them.

    `qwen2` and `qwen3` pair the halves of a head, as nima does. `llama` pairs neighbours, so row i of the first half
    goes to 2i and row i of the second to 2i + 1; `back` is the inverse.
    """
    kind = re.search(r"self_attn\.([qk])_proj", name)
    if architecture(shape) != "llama" or kind is None:
        return tensor
    heads = shape.n_heads if kind[1] == "q" else shape.n_kv_heads
    split = (heads, shape.head_dim // 2, 2) if back else (heads, 2, shape.head_dim // 2)
    return tensor.reshape(*split, -1).transpose(1, 2).reshape(tensor.shape).contiguous()
