"""Asks a model held-out questions and compares its answers with the written ones."""

import re
import string
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.protocol import Tokenizer, question_frame
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import DataError
from nima_cli.events import Progress

_NEW_TOKENS = 256
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, the expected and the given answer, and its token F1 and exact match from 0 to 1."""

    question: str
    expected: str
    answer: str
    f1: float
    exact: float


@dataclass(frozen=True, slots=True)
class Answers:
    """All questions asked; `held_out` counts those of the split."""

    asked: tuple[Answer, ...]
    held_out: int

    @property
    def f1(self) -> float:
        return sum(one.f1 for one in self.asked) / len(self.asked)

    @property
    def exact(self) -> float:
        return sum(one.exact for one in self.asked) / len(self.asked)


def ask(generator: TextGenerator, held_out: SplitArrays, *, count: int) -> Generator[Progress, None, Answers]:
    """Ask up to `count` questions of a split, the same ones every time, with greedy decoding.

    The prompt is a conversation up to its first answer that carries loss. Raises DataError if the split has none.
    """
    tokenizer = generator.tokenizer
    before, opening = question_frame(tokenizer.chat)
    begins = _answers_with_loss(held_out, opening, tokenizer.stop_ids)
    if not begins:
        raise DataError("`questions=`: this split holds no questions and answers")
    wanted = min(count, len(begins))
    chosen = [begins[place * len(begins) // wanted] for place in range(wanted)]
    room = min(_NEW_TOKENS, generator.generator.context_length // 2)
    asked = []
    for done, (start, begin, end) in enumerate(chosen):
        yield Progress("asking", done, len(chosen), "questions")
        prompt = held_out.tokens[start:begin].tolist()
        answer = "".join(
            generator.stream(prompt, sampling=SamplingParams(temperature=0.0), max_new_tokens=room, seed=0)
        )
        expected = tokenizer.decode(held_out.tokens[begin:end].tolist())
        question = _question(prompt[: len(prompt) - len(opening)], before, tokenizer)
        asked.append(Answer(question, expected, answer, token_f1(answer, expected), exact_match(answer, expected)))
    return Answers(tuple(asked), len(begins))


def _answers_with_loss(
    arrays: SplitArrays, opening: Sequence[int], stop_ids: frozenset[int]
) -> list[tuple[int, int, int]]:
    """Where each conversation and its first answer that carries loss begin, and where this answer ends."""
    tokens, size = arrays.tokens, len(opening)
    found = np.ones(max(0, len(tokens) - size), dtype=bool)
    for place, token in enumerate(opening):
        found &= tokens[place : len(found) + place] == token
    begins = np.flatnonzero(found) + size
    ends = np.flatnonzero(np.isin(tokens, sorted(stop_ids)))
    ends_of = np.append(ends, len(tokens))[np.searchsorted(ends, begins)]
    starts = arrays.index["offset"].astype(np.int64)
    samples = np.searchsorted(starts, begins, side="right") - 1
    kinds = [KINDS.index("qa"), KINDS.index("chat")]
    inside = (ends_of < starts[samples] + arrays.lengths()[samples]) & np.isin(arrays.index["kind"][samples], kinds)
    learnt = inside if arrays.mask is None else inside & (arrays.mask[np.minimum(ends_of, len(tokens) - 1)] != 0)
    _, first = np.unique(samples[learnt], return_index=True)
    rows = zip(starts[samples[learnt][first]], begins[learnt][first], ends_of[learnt][first], strict=True)
    return [(int(start), int(begin), int(end)) for start, begin, end in rows]


def _question(asked: Sequence[int], before: Sequence[int], tokenizer: Tokenizer) -> str:
    """What the user said last, in the ids up to its end."""
    special = [place for place, token in enumerate(before) if token in tokenizer.special_ids]
    opening = list(before[special[-1] if special else 0 :])  # of a user's turn
    places = range(len(asked) - len(opening), -1, -1)
    at = next((place for place in places if list(asked[place : place + len(opening)]) == opening), None)
    return "" if at is None else tokenizer.decode(asked[at + len(opening) :])


def normalised(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces (SQuAD, Rajpurkar et al., 1606.05250)."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact_match(answer: str, expected: str) -> float:
    """1 if both are the same normalised words, else 0."""
    return float(normalised(answer) == normalised(expected))


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall over normalised words (SQuAD)."""
    said, wanted = normalised(answer).split(), normalised(expected).split()
    if not said or not wanted:
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted))
