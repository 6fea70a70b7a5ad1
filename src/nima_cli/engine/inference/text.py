"""Prompts in, text out: ties a generator to a tokenizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nima_cli.engine.data.document import with_line_feeds
from nima_cli.engine.data.tokenizer.tokenizer import TextStream, Tokenizer
from nima_cli.engine.inference.decode_backend import DecodeBackend
from nima_cli.engine.inference.generator import Generator, StoppingCriteria
from nima_cli.engine.inference.sampling import SamplingParams, check_seed
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


class _Piece(NamedTuple):
    """Text that became certain after so many tokens, and whether a stop string has come."""

    text: str
    tokens: int
    stopped: bool


class StopFilter:
    """Cuts text at the first stop string, however its pieces arrive.

    Attributes:
        stopped: whether a stop string has come.
    """

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

    def __init__(self, model: GPT, tokenizer: Tokenizer, backend: DecodeBackend | None = None) -> None:
        """Take a model, its tokenizer, and what decodes with it: torch unless told otherwise."""
        self.tokenizer = tokenizer
        self.generator = Generator(model, backend)
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
        return len(prompt_ids) - len(self.generator.truncate_prompt(prompt_ids, max_new_tokens))

    def stream(
        self,
        prompt_ids: Sequence[int],
        *,
        sampling: SamplingParams,
        max_new_tokens: int,
        seed: int,
        stop: Sequence[str] = (),
        n_keep: int = 1,
        reuse_prefix: bool = False,
    ) -> Iterator[str]:
        """Pieces of one continuation as they come, never half a character and never part of a stop string.

        Args:
            n_keep: see `Generator.decode`.
            reuse_prefix: see `Generator.decode`.

        Raises:
            InputError: the seed is out of range.
            DivergedError: the model's predictions are not finite.
        """
        for piece in self._pieces(prompt_ids, sampling, max_new_tokens, seed, stop, n_keep, reuse_prefix):
            if piece.text:
                yield piece.text

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
            InputError: the prompt is empty or no text, or a seed is out of range.
            DivergedError: the model's predictions are not finite.
        """
        prompt_ids = self.encode_prompt(prompt)
        return [
            self._complete(prompt, prompt_ids, sampling, max_new_tokens, seed + sample, stop)
            for sample in range(num_samples)
        ]

    def _complete(
        self, prompt: str, ids: list[int], sampling: SamplingParams, max_new_tokens: int, seed: int, stop: Sequence[str]
    ) -> Completion:
        pieces = list(self._pieces(ids, sampling, max_new_tokens, seed, stop))
        _, tokens, stopped = pieces[-1]
        return Completion(
            prompt=prompt,
            text="".join(piece.text for piece in pieces),
            seed=seed,
            tokens=tokens,
            finished=stopped or tokens < max_new_tokens,
            prompt_tokens_dropped=self.dropped(ids, max_new_tokens),
        )

    def _pieces(
        self,
        prompt_ids: Sequence[int],
        sampling: SamplingParams,
        max_new_tokens: int,
        seed: int,
        stop: Sequence[str],
        n_keep: int = 1,
        reuse_prefix: bool = False,
    ) -> Iterator[_Piece]:
        """The text that is certain with each token, up to a stop string or to what is left after the last token."""
        check_seed(seed)
        text, stops = TextStream(self.tokenizer), StopFilter(stop)
        ends = StoppingCriteria(self.end_ids, max_new_tokens)
        decoded = self.generator.decode(
            prompt_ids, sampling=sampling, stops=ends, seed=seed, n_keep=n_keep, reuse_prefix=reuse_prefix
        )
        tokens = 0
        for tokens, token in enumerate(decoded, 1):
            yield _Piece(stops.push(text.push(token)), tokens, stops.stopped)
            if stops.stopped:
                return
        rest = stops.push(text.flush())
        yield _Piece(rest if stops.stopped else rest + stops.flush(), tokens, stops.stopped)
