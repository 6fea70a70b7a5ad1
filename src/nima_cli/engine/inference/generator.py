"""Continues token sequences with a KV cache.

One at a time: in a batch, matrix products round differently, and a prompt and seed would not always give the same text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

from nima_cli.engine.inference.sampling import SamplingParams, sample
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT


@dataclass(frozen=True, slots=True)
class StoppingCriteria:
    """When a sequence ends: at one of these ids (not returned), or after this many new tokens."""

    ids: frozenset[int]
    max_new_tokens: int


class DecodeBackend:
    """What computes one step of decoding: torch, unless a subclass does it in another way."""

    def __init__(self, model: GPT) -> None:
        self.model = model
        self.cache_dtype = model.compute_dtype

    def step(self, token: int, cache: KVCache) -> torch.Tensor:
        """Append `token` to the cache and return float32 logits `[1, V]` after it."""
        ids_BT = torch.tensor([[token]], device=self.model.embed_tokens.weight.device)
        logits_BTV: torch.Tensor = self.model(ids_BT, cache, last_only=True)
        return logits_BTV[:, -1]

    def sample(self, logits_BV: torch.Tensor, params: SamplingParams, uniform: float, seen_BV: torch.Tensor) -> int:
        """Choose the next token as `sampling.sample` does; may overwrite the logits."""
        return int(sample(logits_BV, params, torch.tensor([uniform]), seen_BV))


class Generator:
    """Decodes one sequence after the other and keeps its cache between calls.

    Attributes:
        decoded: how many tokens it has generated.
    """

    def __init__(self, model: GPT, backend: DecodeBackend | None = None) -> None:
        self.model = model.eval()
        self._backend = backend or DecodeBackend(model)
        self.context_length = model.shape.context_length
        self.decoded = 0
        self._cache: KVCache | None = None
        self._cached_ids: list[int] = []
        self._prefilled = 0  # how many of them were computed in one pass from the first position on

    def truncate_prompt(self, prompt_ids: Sequence[int], max_new_tokens: int, *, n_keep: int = 1) -> list[int]:
        """Keep a prompt's first `n_keep` ids and as many of its last ones as leave room for the answer.

        The answer gets at most half of the context.
        """
        limit = self.context_length - min(max_new_tokens, self.context_length // 2)
        return _shorten(prompt_ids, limit, n_keep)

    @torch.inference_mode()
    def decode(
        self,
        prompt_ids: Sequence[int],
        *,
        sampling: SamplingParams,
        stops: StoppingCriteria,
        seed: int,
        n_keep: int = 1,
        reuse_prefix: bool = False,
    ) -> Iterator[int]:
        """Continue one prompt of at least one id; `truncate_prompt` shortens it first.

        Args:
            n_keep: how many of the first ids stay when the context overflows.
            reuse_prefix: start from the longest prefix that the cache holds, as over the turns of a chat. Predictions
                are then equal up to rounding, not bit by bit.

        Raises:
            DivergedError: the model's predictions are not finite.
        """
        assert prompt_ids, "the caller starts from at least a boundary symbol"
        generator = torch.Generator().manual_seed(seed)
        ids = self.truncate_prompt(prompt_ids, stops.max_new_tokens, n_keep=n_keep)
        seen_BV = torch.zeros(1, self.model.shape.vocab_size, dtype=torch.bool, device=self._device)
        seen_BV[0, ids] = True
        # Earlier turns hold the end of a turn: with a penalty on it, the model would never stop.
        seen_BV[0, list(stops.ids)] = False
        logits_BV = self.prefill(ids, reuse_prefix=reuse_prefix)
        for count in range(stops.max_new_tokens):
            if count:
                logits_BV = self._next(ids, n_keep)
            token = self._backend.sample(logits_BV, sampling, torch.rand(1, generator=generator).item(), seen_BV)
            if token in stops.ids:
                return
            seen_BV[0, token] = True
            ids.append(token)
            self.decoded += 1
            yield token

    @torch.inference_mode()
    def prefill(self, prompt_ids: Sequence[int], *, reuse_prefix: bool = False) -> torch.Tensor:
        """Bring a prompt of at most the context into the cache; returns the logits `[1, V]` after it.

        Its last token is a step of its own, so that the same operations continue a new and a cached prompt.
        """
        if self._cache is None:
            dtype = self._backend.cache_dtype
            self._cache = KVCache(
                self.model.shape, batch=1, capacity=self.context_length, device=self._device, dtype=dtype
            )
        body = list(prompt_ids[:-1])
        known = len(body) if self._prefilled == len(body) and self._cached_ids[: len(body)] == body else 0
        if reuse_prefix and not known:
            pairs = zip(self._cached_ids, body, strict=False)
            known = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        self._forget_from(known)
        if known < len(body):
            self.model.hidden(torch.tensor([body[known:]], device=self._device), self._cache)
            self._cached_ids = body  # only now: an interrupted pass leaves the cache at `known`
            self._prefilled = 0 if known else len(body)
        return self._step(prompt_ids[-1])

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.model.embed_tokens.weight.device
        return device

    def _next(self, ids: list[int], n_keep: int) -> torch.Tensor:
        """Logits `[1, V]` after the newest id; a full context is first shortened to three quarters."""
        assert self._cache is not None
        if self._cache.length < self._cache.capacity:
            return self._step(ids[-1])
        recent = _shorten(ids, max(1, self.context_length - max(1, self.context_length // 4)), n_keep)
        self._forget_from(0)
        return self.prefill(recent)

    def _step(self, token: int) -> torch.Tensor:
        assert self._cache is not None
        logits_BV = self._backend.step(token, self._cache)
        self._cached_ids.append(token)
        return logits_BV

    def _forget_from(self, length: int) -> None:
        assert self._cache is not None
        self._cached_ids = self._cached_ids[:length]
        self._prefilled = self._prefilled if self._prefilled <= length else 0
        self._cache.truncate(length)


def _shorten(ids: Sequence[int], limit: int, n_keep: int) -> list[int]:
    """At most `limit` ids: the first `n_keep`, and at least one of the last."""
    if len(ids) <= limit:
        return list(ids)
    n_keep = min(n_keep, limit - 1)
    return [*ids[:n_keep], *ids[len(ids) - limit + n_keep :]]
