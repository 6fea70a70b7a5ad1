"""Converters: what makes a plain model faster, put into it from outside, as torchtitan does.

A converted model computes the same function up to rounding, and has the same parameters under the same names. What
`convert` puts in acts in training only: evaluation and inference run the plain forward pass, whatever this machine can
compile. `quantize_` is for inference.
"""

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import nn

from nima_cli.engine.kernels.blocked_attention import blocked_attention
from nima_cli.engine.kernels.forward import NativeForward
from nima_cli.engine.kernels.kernels import Kernels
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT, Block
from nima_cli.events import Note

# Compiling takes about half a minute and gains about a fifth, so it pays where a run takes some minutes. A GPU of the
# last years reaches this rate in 16 bit.
_GPU_RATE = 2e14  # floating-point operations a second
_PAYS_AFTER = 180.0  # seconds
_REASON = 200  # characters of it are told


class Converted(NamedTuple):
    """A model, and what computes it: `kernels`, `int8 kernels`, `torch` or None, as a checkpoint's header has it."""

    model: GPT
    compiled: str | None


def convert(model: GPT, how: Kernels | Literal["torch"] | None) -> Converted:
    """Make a model train faster, in place.

    Args:
        model: on its device.
        how: with compiled kernels, or blocks that torch compiles; None uses torch as it is, on a CPU with attention in
            blocks.
    """
    device = model.embed_tokens.weight.device
    if isinstance(how, Kernels) and how.supports(device, model.compute_dtype):
        model.__dict__["hidden"] = NativeForward(model, how)
        return Converted(model, "int8 kernels" if how.int8 else "kernels")
    for block in map(_block, model.layers):
        if device.type == "cpu":
            block.self_attn.inner_attention = BlockedAttention(block.self_attn.inner_attention)
    if how == "torch":
        compile_blocks(model)
        return Converted(model, "torch")
    return Converted(model, None)


class BlockedAttention(nn.Module):
    """The attention of `blocked_attention.py` where gradients are wanted, the plain one elsewhere."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self._plain = plain

    def forward(self, q_BHTD: torch.Tensor, k_BGTD: torch.Tensor, v_BGTD: torch.Tensor) -> torch.Tensor:
        """Batch and heads become one axis, each group of queries beside its keys and values."""
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
    """Whether a run of so many floating-point operations on this device is long enough for torch to compile it.

    A pure function of both, so that a run that is resumed computes as before. Never on a CPU, where the compiled
    kernels gain more and are compiled sooner.
    """
    return device.type == "cuda" and operations > _GPU_RATE * _PAYS_AFTER


def compile_blocks(model: GPT) -> None:
    """From its next training step on, the model runs each block as one compiled program.

    One program serves all layers ("regional compilation"), because they differ in nothing but their weights: it takes
    seconds where compiling the whole model takes minutes. What torch cannot compile here it runs as it is.
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
    """What stands in the place of a block's `forward`; the block holds it, so that it must not hold the block."""
    found, drop = weakref.ref(block), block.drop

    def forward(
        x_BTC: torch.Tensor, cos_TE: torch.Tensor, sin_TE: torch.Tensor, cache: KVCache | None, layer: int
    ) -> torch.Tensor:
        block = found()
        assert block is not None, "who calls it holds it"
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
    """`Block.forward` with masks that have been drawn: arithmetic alone, which can be compiled."""
    attended_BTC = block.self_attn(block.input_layernorm(x_BTC), cos_TE, sin_TE, None, 0)
    x_BTC = x_BTC + block.drop.apply_mask(attended_BTC, keep_attention_BTC)
    return x_BTC + block.drop.apply_mask(block.mlp(block.post_attention_layernorm(x_BTC)), keep_mlp_BTC)


class _Problems(logging.Handler):
    """Keeps the first reason for which torch ran a layer as it is, instead of showing pages of each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message of torch's."""
        failure = record.exc_info[1] if record.exc_info else None
        text = f"{type(failure).__name__}: {failure}" if failure is not None else record.getMessage()
        self.first = self.first or next((line for line in text.splitlines() if line.strip()), "no reason given")


_PROBLEMS = _Problems()


def compile_problems() -> list[Note]:
    """Why torch did not compile layers, if it was to and did not, and what that costs; known after the first step."""
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
    """Round every matrix of a model to what 8 bits can say, in place; returns those bits by parameter name.

    The model then computes what a program computes that reads the bytes, up to the rounding of its own type. So what
    the loss of precision costs can be measured with the model itself. Gains of norms stay as they are.
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
