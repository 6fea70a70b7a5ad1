"""Prompts in, text out: a generator with a tokenizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nima_cli.engine.data.document import with_line_feeds
from nima_cli.engine.data.tokenizer.protocol import TextStream, Tokenizer
from nima_cli.engine.inference.generator import DecodeBackend, Generator, StoppingCriteria
from nima_cli.engine.inference.sampling import SamplingParams, check_seed
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import InputError


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation of a prompt.

    Attributes:
        text: the continuation alone.
        tokens: how many were generated.
        finished: whether it ended by itself or at a stop string, not at the limit.
        prompt_tokens_dropped: tokens of the prompt that did not fit the context.
    """

    prompt: str
    text: str
    seed: int
    tokens: int
    finished: bool
    prompt_tokens_dropped: int


class StopFilter:
    """Cuts text at the first stop string, however its pieces arrive; `stopped` says whether one came."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """Add a piece and return the text that certainly comes before any stop string."""
        self._held += piece
        if found := [at for stop in self._stops if (at := self._held.find(stop)) >= 0]:
            self.stopped = True
            out, self._held = self._held[: min(found)], ""
            return out
        split = len(self._held) - max(map(self._overlap, self._stops), default=0)
        out, self._held = self._held[:split], self._held[split:]
        return out

    def flush(self) -> str:
        """Return what could have been the beginning of a stop string."""
        out, self._held = self._held, ""
        return out

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        limit = min(len(stop) - 1, len(self._held))
        return next((size for size in range(limit, 0, -1) if self._held.endswith(stop[:size])), 0)


class TextGenerator:
    """Completes prompts with one model."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, backend: DecodeBackend | None = None) -> None:
        self.tokenizer = tokenizer
        self.generator = Generator(model, backend)
        self.end_ids = tokenizer.stop_ids

    def encode_prompt(self, prompt: str) -> list[int]:
        """A prompt's ids, with LF line ends and after the boundary symbol that begins every document.

        Raises:
            InputError: the prompt is empty, or holds lone surrogates.
        """
        if not prompt:
            raise InputError("the prompt is empty", hint="give at least one character")
        return [self.tokenizer.bos_id, *self.tokenizer.encode(with_line_feeds(prompt))]

    def dropped(self, prompt_ids: Sequence[int], max_new_tokens: int) -> int:
        """How many ids of a prompt do not fit the context beside an answer of that length."""
        return len(prompt_ids) - len(self.generator.truncate_prompt(prompt_ids, max_new_tokens))

    def stream(
        self,
        prompt_ids: Sequence[int],
        *,
        sampling: SamplingParams,
        max_new_tokens: int,
        seed: int,
        stop: Sequence[str] | StopFilter = (),
        n_keep: int = 1,
        reuse_prefix: bool = False,
    ) -> Iterator[str]:
        """Pieces of one continuation as they come, never half a character and never part of a stop string.

        Args:
            stop: strings, or a filter, which then tells whether one came.
            n_keep: see `Generator.decode`.
            reuse_prefix: see `Generator.decode`.

        Raises:
            InputError: the seed is out of range.
            DivergedError: the model's predictions are not finite.
        """
        check_seed(seed)
        text, stops = TextStream(self.tokenizer), stop if isinstance(stop, StopFilter) else StopFilter(stop)
        ends = StoppingCriteria(self.end_ids, max_new_tokens)
        for token in self.generator.decode(
            prompt_ids, sampling=sampling, stops=ends, seed=seed, n_keep=n_keep, reuse_prefix=reuse_prefix
        ):
            if piece := stops.push(text.push(token)):
                yield piece
            if stops.stopped:
                return
        if rest := stops.push(text.flush()) + stops.flush():
            yield rest

    def complete(
        self,
        prompt: str,
        *,
        sampling: SamplingParams,
        max_new_tokens: int,
        seed: int,
        num_samples: int = 1,
        stop: Sequence[str] = (),
    ) -> list[Completion]:
        """`num_samples` continuations of one prompt; the first has seed `seed`, then `seed + 1`.

        Raises:
            InputError: the prompt is empty or not valid Unicode, or a seed is out of range.
            DivergedError: the model's predictions are not finite.
        """
        ids, found = self.encode_prompt(prompt), []
        dropped = self.dropped(ids, max_new_tokens)
        for each in range(seed, seed + num_samples):
            stops, before = StopFilter(stop), self.generator.decoded
            pieces = self.stream(ids, sampling=sampling, max_new_tokens=max_new_tokens, seed=each, stop=stops)
            text = "".join(pieces)
            tokens = self.generator.decoded - before
            found.append(Completion(prompt, text, each, tokens, stops.stopped or tokens < max_new_tokens, dropped))
        return found
