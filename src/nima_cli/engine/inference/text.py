"""Prompts in, text out: ties a generator to a tokenizer; knows no terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nima_cli.engine.data.document import with_line_feeds
from nima_cli.engine.data.tokenizer.tokenizer import TextStream, Tokenizer
from nima_cli.engine.inference.decode_backend import Stepper
from nima_cli.engine.inference.generator import Generator, Stops
from nima_cli.engine.inference.sampling import Sampling, check_seed
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


class _Writer:
    """One continuation on its way from ids to text."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._text = TextStream(tokenizer)
        self._filter = StopFilter(stop)
        self.tokens = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._filter.stopped

    def push(self, token: int) -> str:
        """The text that is certain with this token."""
        self.tokens += 1
        return self._filter.push(self._text.push(token))

    def finish(self) -> str:
        """What is left when no more tokens come."""
        rest = self._filter.push(self._text.flush())
        return rest if self.stopped else rest + self._filter.flush()


class TextGenerator:
    """Completes prompts with one model."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, stepper: Stepper | None = None) -> None:
        """Take a model, its tokenizer, and what to step it with: torch unless told otherwise."""
        self.tokenizer = tokenizer
        self.generator = Generator(model, stepper)
        self.end_ids = frozenset({tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.end_id}) | frozenset(
            tokenizer.role_ids.values()
        )

    def encode_prompt(self, prompt: str) -> list[int]:
        """A prompt's ids, with LF line ends and after the boundary symbol that begins every document.

        Raises:
            InputError: the prompt is empty, or holds lone surrogates.
        """
        if not prompt:
            raise InputError("the prompt is empty", hint="give at least one character")
        return [self.tokenizer.bos_id, *self.tokenizer.encode(with_line_feeds(prompt))]

    def dropped(self, prompt_ids: Sequence[int], max_new_tokens: int) -> int:
        """How many ids of a prompt, after its first, do not fit the context beside an answer of that length."""
        return len(prompt_ids) - len(self.generator.fit(prompt_ids, max_new_tokens))

    def stream(
        self,
        prompt_ids: Sequence[int],
        *,
        sampling: Sampling,
        max_new_tokens: int,
        seed: int,
        stop: Sequence[str] = (),
        pinned: int = 1,
        reuse: bool = False,
    ) -> Iterator[str]:
        """Pieces of one continuation as they come, never half a character and never part of a stop string.

        Args:
            pinned: see `Generator.decode`.
            reuse: see `Generator.decode`.

        Raises:
            InputError: the seed is out of range.
            DivergedError: the model's predictions are not finite.
        """
        writer = _Writer(self.tokenizer, stop)
        for token in self._tokens(prompt_ids, sampling, max_new_tokens, seed, pinned=pinned, reuse=reuse):
            piece = writer.push(token)
            if piece:
                yield piece
            if writer.stopped:
                return
        if rest := writer.finish():
            yield rest

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
        """`num_samples` continuations of one prompt; the first has seed `seed`, then `seed + 1`.

        Raises:
            InputError: the prompt is empty or no text, or a seed is out of range.
            DivergedError: the model's predictions are not finite.
        """
        prompt_ids = self.encode_prompt(prompt)
        return [
            self._complete(prompt, prompt_ids, sampling, max_new_tokens, seed + sample, stop)
            for sample in range(num_samples)
        ]

    def _complete(
        self, prompt: str, ids: list[int], sampling: Sampling, max_new_tokens: int, seed: int, stop: Sequence[str]
    ) -> Completion:
        writer, text = _Writer(self.tokenizer, stop), ""
        for token in self._tokens(ids, sampling, max_new_tokens, seed):
            text += writer.push(token)
            if writer.stopped:
                break
        text += writer.finish()
        return Completion(
            prompt=prompt,
            text=text,
            seed=seed,
            tokens=writer.tokens,
            finished=writer.stopped or writer.tokens < max_new_tokens,
            prompt_tokens_dropped=self.dropped(ids, max_new_tokens),
        )

    def _tokens(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        max_new_tokens: int,
        seed: int,
        *,
        pinned: int = 1,
        reuse: bool = False,
    ) -> Iterator[int]:
        check_seed(seed)
        stops = Stops(self.end_ids, max_new_tokens)
        return self.generator.decode(prompt_ids, sampling=sampling, stops=stops, seed=seed, pinned=pinned, reuse=reuse)
