"""Continues token sequences with a KV cache; knows no tokenizer, no text and no conversation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from nima_cli.engine.inference.sampling import Sampling, pick
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT


@dataclass(frozen=True, slots=True)
class Stops:
    """When a sequence ends: at one of these ids (not returned), or after this many new tokens."""

    ids: frozenset[int]
    max_new_tokens: int


class Generator:
    """Decodes rows that start from one prompt; keeps its cache between calls, so a chat pays only for what is new."""

    def __init__(self, model: GPT) -> None:
        self.model = model.eval()
        self.context_length = model.shape.context_length
        self._cache: KVCache | None = None
        self._cached_ids: list[int] = []

    def fit(self, prompt_ids: Sequence[int], max_new_tokens: int) -> list[int]:
        """The end of the prompt that leaves room for an answer: all of it, or its last tokens.

        The answer is given up to half of the context; its own overflow is handled while decoding.
        """
        room = min(max_new_tokens, self.context_length // 2)
        return list(prompt_ids[-(self.context_length - room) :])

    @torch.inference_mode()
    def decode(
        self, prompt_ids: Sequence[int], *, sampling: Sampling, stops: Stops, seeds: Sequence[int]
    ) -> Iterator[list[int | None]]:
        """Continue one prompt in as many rows as there are seeds.

        Args:
            prompt_ids: at least one id; longer prompts than `fit` allows are cut to it.
            seeds: one per row; a row's text depends on its own seed only.

        Yields:
            For each position, the new id of every row, None where the row has ended.
        """
        assert prompt_ids, "the caller starts from at least a boundary symbol"
        device = self.model.embed_tokens.weight.device
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        rows = [self.fit(prompt_ids, stops.max_new_tokens) for _ in seeds]
        seen_BV = torch.zeros(len(rows), self.model.shape.vocab_size, dtype=torch.bool, device=device)
        seen_BV[:, rows[0]] = True
        active = [True] * len(rows)
        logits_BV = self._prefill(rows)
        for count in range(stops.max_new_tokens):
            uniforms_B = torch.cat([torch.rand(1, generator=generator) for generator in generators])
            ids_B = pick(logits_BV, sampling, uniforms_B, seen_BV)
            seen_BV.scatter_(1, ids_B.unsqueeze(1), True)
            ids = ids_B.tolist()
            active = [still and token not in stops.ids for still, token in zip(active, ids, strict=True)]
            if not any(active):
                return
            for row, token in zip(rows, ids, strict=True):
                row.append(token)
            yield [token if still else None for still, token in zip(active, ids, strict=True)]
            if count + 1 < stops.max_new_tokens:
                logits_BV = self._next(rows, ids_B)

    def _prefill(self, rows: list[list[int]]) -> torch.Tensor:
        """Logits `[B, V]` after the rows' common prompt, reusing the longest prefix that the cache already holds."""
        prompt = rows[0]
        cache = self._cache
        if cache is None or cache.keys_BHTD[0].shape[0] != len(rows):
            cache = self._cache = self._new_cache(len(rows))
            self._cached_ids = []
        shared = 0
        # The last prompt token is always run again: its logits are what is wanted.
        for old, new in zip(self._cached_ids, prompt[:-1], strict=False):
            if old != new:
                break
            shared += 1
        cache.truncate(shared)
        self._cached_ids = prompt[:shared]
        ids_BT = torch.tensor([prompt[shared:]] * len(rows), device=self.model.embed_tokens.weight.device)
        logits_BV: torch.Tensor = self.model(ids_BT, cache, last_only=True)[:, -1]
        self._cached_ids = list(prompt)  # only now: an interrupted pass leaves the cache at `shared`
        return logits_BV

    def _next(self, rows: list[list[int]], ids_B: torch.Tensor) -> torch.Tensor:
        """Logits `[B, V]` after the newest token of each row."""
        cache = self._cache
        assert cache is not None
        if cache.length == cache.capacity:
            return self._slide(rows)
        logits_BV: torch.Tensor = self.model(ids_B.unsqueeze(1), cache, last_only=True)[:, -1]
        if len(rows) == 1:  # several rows differ from here on: only their common prompt may be reused
            self._cached_ids.append(rows[0][-1])
        return logits_BV

    def _slide(self, rows: list[list[int]]) -> torch.Tensor:
        """The context is full: go on from the newest half of it."""
        assert self._cache is not None
        keep = self.context_length // 2
        recent_BT = torch.tensor([row[-keep:] for row in rows], device=self.model.embed_tokens.weight.device)
        self._cache.truncate(0)
        self._cached_ids = []
        logits_BV: torch.Tensor = self.model(recent_BT, self._cache, last_only=True)[:, -1]
        self._cached_ids = rows[0][-keep:] if len(rows) == 1 else []
        return logits_BV

    def _new_cache(self, batch: int) -> KVCache:
        weight = self.model.embed_tokens.weight
        return KVCache(
            self.model.shape,
            batch=batch,
            capacity=self.context_length,
            device=weight.device,
            dtype=self.model.compute_dtype,
        )
