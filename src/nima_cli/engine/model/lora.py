"""Low-rank adapters (LoRA, Hu et al., 2106.09685): small trained matrices beside the frozen ones of a model.

A target `W` `[O, I]` computes `W x + alpha / rank * B (A x)` with `A` `[R, I]` and `B` `[O, R]`; their product is made
only when they are merged. `A` starts at random and `B` at zero, so that training starts from the model as it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from nima_cli.config.schema import LoraConfig
from nima_cli.engine.model.dropout import RowDropout
from nima_cli.engine.model.gpt import GPT, Linear
from nima_cli.engine.model.shape import ModelShape

_A, _B = "lora_A", "lora_B"


@dataclass(frozen=True, slots=True)
class Lora:
    """Which matrices get adapters (`q_proj` and so on), how wide inside, and how strong."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        """What the adapters' product is multiplied by."""
        return self.alpha / self.rank

    def has(self, name: str) -> bool:
        """Whether the matrix with this parameter name gets an adapter."""
        return name.startswith("layers.") and name.endswith(tuple(f".{target}.weight" for target in self.targets))

    def tensors(self, shape: ModelShape) -> dict[str, tuple[int, ...]]:
        """Name and shape of every adapter matrix."""
        found: dict[str, tuple[int, ...]] = {}
        for name, size in shape.tensors().items():
            if self.has(name):
                module = name.removesuffix("weight")
                found[f"{module}{_A}"], found[f"{module}{_B}"] = (self.rank, size[1]), (size[0], self.rank)
        return found


def lora_of(wanted: LoraConfig) -> Lora | None:
    """The adapters of a run; None for one that trains all weights."""
    return Lora(wanted.rank, wanted.alpha, tuple(wanted.targets), wanted.dropout) if wanted.enabled else None


class LoraLinear(Linear):
    """A frozen `Linear` with an adapter; takes over its parameters."""

    def __init__(self, plain: Linear, lora: Lora, drop: RowDropout) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight, self.bias = plain.weight, plain.bias
        device = plain.weight.device
        self.lora_A = nn.Parameter(torch.empty(lora.rank, plain.in_features, device=device))
        self.lora_B = nn.Parameter(torch.empty(plain.out_features, lora.rank, device=device))
        self.scale, self.drop = lora.scale, drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        low = F.linear(self.drop(x), self.lora_A.to(x.dtype))
        return super().forward(x) + F.linear(low, (self.lora_B * self.scale).to(x.dtype))


def add_adapters(model: GPT, lora: Lora, *, seed: int) -> None:
    """Freeze a model and put adapters beside its targets, in place; the same seed gives the same start."""
    model.requires_grad_(False)
    model.lora_drop = RowDropout(lora.dropout)
    generator = torch.Generator().manual_seed(seed)
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear) and lora.has(f"{name}.weight"):
            adapted = LoraLinear(module, lora, model.lora_drop)
            bound = 1.0 / math.sqrt(module.in_features)
            with torch.no_grad():
                adapted.lora_A.copy_(torch.empty(adapted.lora_A.shape).uniform_(-bound, bound, generator=generator))
                adapted.lora_B.zero_()
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, adapted)


def adapters(model: GPT) -> dict[str, torch.Tensor]:
    """The adapter matrices of a model by name; empty without any."""
    return {name: parameter for name, parameter in model.named_parameters() if name.endswith((_A, _B))}


def merged(
    weights: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], lora: Lora
) -> dict[str, torch.Tensor]:
    """Copies of the weights, in float32, with what the adapters add to them."""
    total = {name: tensor.float() for name, tensor in weights.items()}
    for name in filter(lora.has, total):
        module = name.removesuffix("weight")
        product_OI = found[f"{module}{_B}"].float() @ found[f"{module}{_A}"].float()
        total[name] = total[name] + lora.scale * product_OI
    return total
