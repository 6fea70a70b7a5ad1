"""Converters, as torchtitan has them: they make a plain model faster from outside and leave its parameters.

`convert` acts in training only; evaluation and inference run the plain forward pass. `quantize_` is for inference.
"""

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import nn

from nima_cli.engine.kernels.blocked_attention import blocked_attention
from nima_cli.engine.kernels.forward import NativeForward
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.dropout import RowDropout
from nima_cli.engine.model.gpt import GPT, Block
from nima_cli.engine.model.recompute import recomputed
from nima_cli.events import Note

# Compiling takes about half a minute and gains about a fifth, so that a run must take some minutes. A recent GPU
# reaches this rate in 16 bit.
_GPU_RATE = 2e14  # floating-point operations a second
_PAYS_AFTER = 180.0  # seconds
_REASON = 200  # characters of it are shown


def convert(model: GPT, how: Kernels | Literal["torch"] | None) -> str | None:
    """Make a model on its device train faster, in place; on a CPU None computes attention in blocks.

    Returns what computes it, as in a checkpoint's header: `kernels`, `int8 kernels`, `torch` or None.
    """
    device = model.embed_tokens.weight.device
    if isinstance(how, Kernels) and how.supports(device, model.compute_dtype):
        model.__dict__["hidden"] = NativeForward(model, how)
        return "int8 kernels" if how.int8 else "kernels"
    for block in map(_block, model.layers):
        if device.type == "cpu":
            block.self_attn.inner_attention = BlockedAttention(block.self_attn.inner_attention)
    if how == "torch":
        _compile_blocks(model)
        return "torch"
    return None


def recompute_layers(model: GPT) -> None:
    """Let training keep the inputs of a converted model's layers only, and compute the layers twice, in place."""
    hidden = model.__dict__.get("hidden")
    if isinstance(hidden, NativeForward):
        hidden.recompute = True
        return
    for block in map(_block, model.layers):
        block.__dict__["forward"] = _recomputed_forward(block, model.drops)


def _recomputed_forward(block: Block, drops: list[RowDropout]) -> Callable[..., torch.Tensor]:
    """Replaces a block's `forward`, which may be compiled; it refers weakly to the block, which holds it."""
    found, compiled = weakref.ref(block), block.__dict__.get("forward")

    def forward(
        x_BTC: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor, cache: KVCache | None, layer: int
    ) -> torch.Tensor:
        block = found()
        assert block is not None, "the caller holds it"
        run: Callable[..., torch.Tensor] = compiled or partial(Block.forward, block)
        if cache is not None or not torch.is_grad_enabled():
            return run(x_BTC, cos_TE, sin_TE, cache, layer)
        out_BTC: torch.Tensor = recomputed(
            lambda x_BTC: run(x_BTC, cos_TE, sin_TE, None, layer), (x_BTC,), block.parameters(), drops
        )
        return out_BTC

    return forward


class BlockedAttention(nn.Module):
    """Attention in blocks for gradients, the plain one without."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self._plain = plain

    def forward(self, q_BHTD: torch.Tensor, k_BGTD: torch.Tensor, v_BGTD: torch.Tensor) -> torch.Tensor:
        """As `InnerAttention.forward`; keys and values are repeated for each head of their group."""
        if not torch.is_grad_enabled():
            plain_BHTD: torch.Tensor = self._plain(q_BHTD, k_BGTD, v_BGTD)
            return plain_BHTD
        group = q_BHTD.shape[1] // k_BGTD.shape[1]
        q_NTD = (q_BHTD * q_BHTD.shape[-1] ** -0.5).flatten(0, 1)
        k_NTD, v_NTD = (x.repeat_interleave(group, dim=1).flatten(0, 1) for x in (k_BGTD, v_BGTD))
        return blocked_attention(q_NTD, k_NTD, v_NTD).view_as(q_BHTD)


def _block(layer: nn.Module) -> Block:
    return cast(Block, layer)


def worth_compiling(device: torch.device, operations: float) -> bool:
    """Whether a run of this many floating-point operations is long enough for torch to compile it.

    A pure function, so that a resumed run computes as before. Never on a CPU, where our kernels gain more.
    """
    return device.type == "cuda" and operations > _GPU_RATE * _PAYS_AFTER


def _compile_blocks(model: GPT) -> None:
    """Let torch compile one program for all blocks at the next training step ("regional compilation").

    That takes seconds where the whole model takes minutes. What torch cannot compile it runs as it is.
    """
    import torch._dynamo.config

    torch._dynamo.config.suppress_errors = True
    logging.getLogger("torch._dynamo").setLevel(logging.CRITICAL)
    told = logging.getLogger("torch._dynamo.convert_frame")  # which says what was suppressed
    told.setLevel(logging.WARNING)
    told.propagate = False
    told.addHandler(_PROBLEMS)
    program = torch.compile(_masked_forward, dynamic=False)
    for block in map(_block, model.layers):
        block.__dict__["forward"] = _compiled_forward(block, program)


def _compiled_forward(block: Block, program: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Replaces a block's `forward`; it refers weakly to the block, which holds it."""
    found, drop = weakref.ref(block), block.drop

    def forward(
        x_BTC: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor, cache: KVCache | None, layer: int
    ) -> torch.Tensor:
        block = found()
        assert block is not None, "the caller holds it"
        if cache is not None or not torch.is_grad_enabled():
            return Block.forward(block, x_BTC, cos_TE, sin_TE, cache, layer)
        return program(block, x_BTC, cos_TE, sin_TE, drop.mask(x_BTC), drop.mask(x_BTC))

    return forward


def _masked_forward(
    block: Block,
    x_BTC: torch.Tensor,
    cos_TE: torch.Tensor,
    sin_TE: torch.Tensor,
    keep_attention_BTC: torch.Tensor | None,
    keep_mlp_BTC: torch.Tensor | None,
) -> torch.Tensor:
    """`Block.forward` with masks that have been drawn, which can be compiled."""
    attended_BTC = block.self_attn(block.input_layernorm(x_BTC), cos_TE, sin_TE, None, 0)
    x_BTC = x_BTC + block.drop.apply_mask(attended_BTC, keep_attention_BTC)
    return x_BTC + block.drop.apply_mask(block.mlp(block.post_attention_layernorm(x_BTC)), keep_mlp_BTC)


class _Problems(logging.Handler):
    """Keeps the first reason why torch did not compile a layer, instead of showing pages of each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first line of torch's first message."""
        failure = record.exc_info[1] if record.exc_info else None
        text = f"{type(failure).__name__}: {failure}" if failure is not None else record.getMessage()
        self.first = self.first or next((line for line in text.splitlines() if line.strip()), "no reason given")


_PROBLEMS = _Problems()


def compile_problems() -> list[Note]:
    """Why torch could not compile the layers; known after the first training step."""
    first, _PROBLEMS.first = _PROBLEMS.first, ""
    if not first:
        return []
    return [Note("warning", f"torch cannot compile the layers, and runs them a fifth slower: {first[:_REASON]}")]


@dataclass(frozen=True, slots=True)
class Int8Rows:
    """A matrix `[rows, columns]`: `values` int8, `scales` float32 `[rows]`."""

    values: torch.Tensor
    scales: torch.Tensor


@torch.no_grad()
def quantize_(model: GPT) -> dict[str, Int8Rows]:
    """Round every matrix to int8 times a scale for each row, in place; returns both by parameter name.

    The model itself then shows what the loss of precision costs. Gains of norms stay as they are.
    """
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            exact = parameter.float()
            scales = exact.abs().amax(dim=1) / 127
            values = (exact / scales.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)).round().to(torch.int8)
            parameter.copy_(values.float() * scales.unsqueeze(1))
            found[name] = Int8Rows(values.contiguous(), scales.contiguous())
    return found
