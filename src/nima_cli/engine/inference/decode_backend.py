"""One step of decoding: a token in, the next token's logits out, and the choice among them."""

from typing import Protocol

import torch

from nima_cli.engine.inference.sampling import SamplingParams, sample
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT


class DecodeBackend(Protocol):
    """What a generator decodes with.

    Attributes:
        cache_dtype: type of the keys and values that it reads.
    """

    cache_dtype: torch.dtype

    def step(self, token: int, cache: KVCache) -> torch.Tensor:
        """Float32 logits `[1, V]` after `token`, which follows the positions in the cache and is added to them."""
        ...

    def sample(self, logits_BV: torch.Tensor, params: SamplingParams, uniform: float, seen_BV: torch.Tensor) -> int:
        """The next token; see `sampling.sample`. The logits may be overwritten."""
        ...


class TorchBackend:
    """With torch, on any device."""

    def __init__(self, model: GPT) -> None:
        self._model = model
        self.cache_dtype = model.compute_dtype

    def step(self, token: int, cache: KVCache) -> torch.Tensor:
        """See `DecodeBackend`."""
        ids_BT = torch.tensor([[token]], device=self._model.embed_tokens.weight.device)
        logits_BTV: torch.Tensor = self._model(ids_BT, cache, last_only=True)
        return logits_BTV[:, -1]

    def sample(self, logits_BV: torch.Tensor, params: SamplingParams, uniform: float, seen_BV: torch.Tensor) -> int:
        """See `DecodeBackend`."""
        return int(sample(logits_BV, params, torch.tensor([uniform]), seen_BV))
