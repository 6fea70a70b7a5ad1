"""Continues token sequences with a KV cache.

One sequence at a time, whatever else is asked for in the same call: the same prompt and seed must give the same text
alone and in company. A batch cannot promise that. Matrix products, attention and activations of several rows at once
round differently from those of one row, and one other last bit can turn one draw into another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

from nima_cli.engine.inference.decode_backend import DecodeBackend, TorchBackend
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT


@dataclass(frozen=True, slots=True)
class StoppingCriteria:
    """When a sequence ends: at one of these ids (not returned), or after this many new tokens."""

    ids: frozenset[int]
    max_new_tokens: int


class Generator:
    """Decodes one sequence after the other; keeps its cache between calls.

    Attributes:
        context_length: positions that the model sees at once.
        decoded: new tokens given out since the beginning.
    """

    def __init__(self, model: GPT, backend: DecodeBackend | None = None) -> None:
        """Take a model, and what decodes with it: torch unless told otherwise."""
        self.model = model.eval()
        self._backend = backend or TorchBackend(model)
        self.context_length = model.shape.context_length
        self.decoded = 0
        self._cache: KVCache | None = None
        self._cached_ids: list[int] = []
        self._prefilled = 0  # so many of them went through the model in one pass from the first position on

    def truncate_prompt(self, prompt_ids: Sequence[int], max_new_tokens: int, *, n_keep: int = 1) -> list[int]:
        """The part of the prompt that leaves room for an answer: its first `n_keep` ids, and as many of its last ones.

        The answer is given up to half of the context; its own overflow is handled while decoding.
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
        """Continue one prompt, id by id.

        Args:
            prompt_ids: at least one id; longer prompts than `truncate_prompt` allows are cut to it.
            seed: the ids depend on the prompt, the options and this number alone.
            n_keep: ids at the beginning that stay when the context overflows.
            reuse_prefix: start from the longest beginning that the cache still holds, as a chat does over its turns.
                The predictions are then equal up to rounding, not bit by bit.

        Raises:
            DivergedError: the model's predictions are not finite.
        """
        assert prompt_ids, "the caller starts from at least a boundary symbol"
        generator = torch.Generator().manual_seed(seed)
        ids = self.truncate_prompt(prompt_ids, stops.max_new_tokens, n_keep=n_keep)
        seen_BV = torch.zeros(1, self.model.shape.vocab_size, dtype=torch.bool, device=self._device)
        seen_BV[0, ids] = True
        # A penalty on the end of a turn, which every earlier turn holds, would keep the model from ever stopping.
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
        """Logits `[1, V]` after a prompt of at most the context, which is then in the cache for others that begin so.

        The last token goes through alone: so a prompt that is already in the cache, for the next sample of it, is
        continued by the very same operations as one that is new.
        """
        if self._cache is None:
            dtype = self._backend.cache_dtype
            self._cache = KVCache(
                self.model.shape, batch=1, capacity=self.context_length, device=self._device, dtype=dtype
            )
        body = list(prompt_ids[:-1])
        known = len(body) if self._prefilled == len(body) and self._cached_ids[: len(body)] == body else 0
        if reuse_prefix and not known:
            known = _common(self._cached_ids, body)
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
        """Logits `[1, V]` after the newest id; in a full context, after its first `n_keep` ids and its newest ones."""
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
    """At most `limit` ids: the first `n_keep` and the last ones, of which there is at least one."""
    if len(ids) <= limit:
        return list(ids)
    n_keep = min(n_keep, limit - 1)
    return [*ids[:n_keep], *ids[len(ids) - limit + n_keep :]]


def _common(old: Sequence[int], new: Sequence[int]) -> int:
    """How many ids both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
