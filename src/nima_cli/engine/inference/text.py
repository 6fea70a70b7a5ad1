"""Prompts in, text out: ties a generator to a tokenizer; knows no terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nima_cli.engine.data.tokenizer import TextStream, Tokenizer
from nima_cli.engine.inference.generator import Generator, Stops
from nima_cli.engine.inference.sampling import Sampling
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import InputError


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation of a prompt.

    Attributes:
        text: the continuation alone.
        tokens: how many were generated.
        finished: ended by itself or at a stop string, rather than at the limit.
        prompt_tokens_dropped: tokens at the beginning of the prompt that did not fit the context.
    """

    prompt: str
    text: str
    seed: int
    tokens: int
    finished: bool
    prompt_tokens_dropped: int


class StopFilter:
    """Cuts text at the first stop string, however its pieces arrive."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """The part of the text that is certain to come before any stop string."""
        self._held += piece
        found = [self._held.find(stop) for stop in self._stops]
        cut = min((at for at in found if at >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
            out, self._held = self._held[:cut], ""
            return out
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        split = len(self._held) - keep
        out, self._held = self._held[:split], self._held[split:]
        return out

    def flush(self) -> str:
        """What was held back in case a stop string was on its way."""
        out, self._held = self._held, ""
        return out

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        limit = min(len(stop) - 1, len(self._held))
        return next((size for size in range(limit, 0, -1) if self._held.endswith(stop[:size])), 0)


class TextGenerator:
    """Completes prompts with one model."""

    def __init__(self, model: GPT, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.generator = Generator(model)
        self.end_ids = frozenset({tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.end_id}) | frozenset(
            tokenizer.role_ids.values()
        )

    def encode_prompt(self, prompt: str) -> list[int]:
        """A prompt's ids, after the boundary symbol that begins every document.

        Raises:
            InputError: the prompt is empty.
        """
        if not prompt:
            raise InputError("the prompt is empty", hint="give at least one character")
        return [self.tokenizer.bos_id, *self.tokenizer.encode(prompt)]

    def stream(
        self, prompt_ids: Sequence[int], *, sampling: Sampling, max_new_tokens: int, seed: int, stop: Sequence[str] = ()
    ) -> Iterator[str]:
        """Pieces of one continuation as they come, never half a character and never part of a stop string."""
        text, filtered = TextStream(self.tokenizer), StopFilter(stop)
        stops = Stops(self.end_ids, max_new_tokens)
        for (token,) in self.generator.decode(prompt_ids, sampling=sampling, stops=stops, seeds=[seed]):
            assert token is not None, "a single row is active while it is yielded"
            piece = filtered.push(text.push(token))
            if piece:
                yield piece
            if filtered.stopped:
                return
        rest = filtered.push(text.flush())
        yield rest + ("" if filtered.stopped else filtered.flush())

    def complete(
        self,
        prompt: str,
        *,
        sampling: Sampling,
        max_new_tokens: int,
        seed: int,
        num_samples: int = 1,
        stop: Sequence[str] = (),
    ) -> list[Completion]:
        """`num_samples` continuations of one prompt, decoded side by side; the first has seed `seed`, then `seed + 1`.

        Raises:
            InputError: the prompt is empty.
        """
        prompt_ids = self.encode_prompt(prompt)
        dropped = len(prompt_ids) - len(self.generator.fit(prompt_ids, max_new_tokens))
        seeds = [seed + index for index in range(num_samples)]
        rows: list[list[int]] = [[] for _ in seeds]
        stops = Stops(self.end_ids, max_new_tokens)
        for ids in self.generator.decode(prompt_ids, sampling=sampling, stops=stops, seeds=seeds):
            for row, token in zip(rows, ids, strict=True):
                if token is not None:
                    row.append(token)
        return [
            self._finish(prompt, row, row_seed, stop, len(row) < max_new_tokens, dropped)
            for row, row_seed in zip(rows, seeds, strict=True)
        ]

    def _finish(
        self, prompt: str, ids: list[int], seed: int, stop: Sequence[str], ended: bool, dropped: int
    ) -> Completion:
        filtered = StopFilter(stop)
        text = filtered.push(self.tokenizer.decode(ids))
        text += "" if filtered.stopped else filtered.flush()
        return Completion(prompt, text, seed, len(ids), ended or filtered.stopped, dropped)
