"""One step of decoding: a token in, the next token's logits out, and the choice among them; knows no sequence."""

from typing import Protocol

import torch

from nima_cli.engine.inference.sampling import Sampling, pick
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT


class Stepper(Protocol):
    """What a generator decodes with.

    Attributes:
        cache_dtype: type of the keys and values that it reads.
    """

    cache_dtype: torch.dtype

    def step(self, token: int, cache: KVCache) -> torch.Tensor:
        """Float32 logits `[1, V]` after `token`, which follows the positions in the cache and is added to them."""
        ...

    def pick(self, logits_BV: torch.Tensor, sampling: Sampling, uniform: float, seen_BV: torch.Tensor) -> int:
        """The next token; see `sampling.pick`. The logits may be overwritten."""
        ...


class TorchStepper:
    """With torch, on any device."""

    def __init__(self, model: GPT) -> None:
        self._model = model
        self.cache_dtype = model.compute_dtype

    def step(self, token: int, cache: KVCache) -> torch.Tensor:
        """See `Stepper`."""
        ids_BT = torch.tensor([[token]], device=self._model.embed_tokens.weight.device)
        logits_BTV: torch.Tensor = self._model(ids_BT, cache, last_only=True)
        return logits_BTV[:, -1]

    def pick(self, logits_BV: torch.Tensor, sampling: Sampling, uniform: float, seen_BV: torch.Tensor) -> int:
        """See `Stepper`."""
        return int(pick(logits_BV, sampling, torch.tensor([uniform]), seen_BV))
