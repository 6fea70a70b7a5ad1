"""Asks a model held-out questions and compares its answers with the written ones."""

import re
import string
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from nima_cli.engine.data.document import KINDS, Turn
from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.chat_format import chat_prompt
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import DataError
from nima_cli.events import Progress

_NEW_TOKENS = 256
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, what was expected, what came, and how close it is: F1 and exact match, from 0 to 1."""

    question: str
    expected: str
    answer: str
    f1: float
    exact: float


@dataclass(frozen=True, slots=True)
class Answers:
    """Scores over all questions asked; `held_out` is how many the split holds."""

    asked: tuple[Answer, ...]
    held_out: int

    @property
    def f1(self) -> float:
        """The mean token F1."""
        return sum(one.f1 for one in self.asked) / len(self.asked)

    @property
    def exact(self) -> float:
        """The share of answers that say the same words."""
        return sum(one.exact for one in self.asked) / len(self.asked)


def ask(generator: TextGenerator, held_out: SplitArrays, *, count: int) -> Generator[Progress, None, Answers]:
    """Ask up to `count` questions of a split, the same ones every time, and take the most likely answers.

    Of a conversation, what leads to its first answer that carries loss is asked: others are not to be learnt.

    Raises:
        DataError: the split holds no questions.
    """
    numbers = _answered(held_out, generator.tokenizer)
    if not numbers:
        raise DataError("`questions=`: this split holds no questions and answers")
    wanted = min(count, len(numbers))
    chosen = [numbers[place * len(numbers) // wanted] for place in range(wanted)]
    room = min(_NEW_TOKENS, generator.generator.context_length // 2)
    asked = []
    for done, number in enumerate(chosen):
        yield Progress("asking", done, len(chosen), "questions")
        turns = list(_turns(held_out, number, generator.tokenizer))
        at = next(place for place, turn in enumerate(turns) if turn.role == "assistant" and turn.weight)
        prompt = chat_prompt(turns[:at], generator.tokenizer)
        answer = "".join(
            generator.stream(prompt, sampling=SamplingParams(temperature=0.0), max_new_tokens=room, seed=0)
        )
        expected = turns[at].content
        question = turns[at - 1].content if at else ""
        asked.append(Answer(question, expected, answer, token_f1(answer, expected), exact_match(answer, expected)))
    return Answers(tuple(asked), len(numbers))


def _answered(arrays: SplitArrays, tokenizer: Tokenizer) -> list[int]:
    """The samples of conversations in which the assistant says something that carries loss."""
    numbers = [number for number, kind in enumerate(arrays.index["kind"].tolist()) if KINDS[kind] in ("qa", "chat")]
    if arrays.mask is None:
        return numbers
    begins = np.flatnonzero(arrays.tokens == tokenizer.role_ids["assistant"])
    learnt = begins[arrays.mask[begins + 1] != 0]
    holding = set((np.searchsorted(arrays.index["offset"], learnt, side="right") - 1).tolist())
    return [number for number in numbers if number in holding]


def _turns(arrays: SplitArrays, number: int, tokenizer: Tokenizer) -> Iterator[Turn]:
    """The turns of a conversation's sample, as rendering put them."""
    start = int(arrays.index["offset"][number])
    ids = arrays.tokens[start : start + int(arrays.lengths()[number])].tolist()
    roles = {token: role for role, token in tokenizer.role_ids.items()}
    for place, token in enumerate(ids):
        if token in roles:
            end = ids.index(tokenizer.end_id, place)
            weight = 1 if arrays.mask is None else int(arrays.mask[start + end])
            yield Turn(roles[token], tokenizer.decode(ids[place + 1 : end]), weight)


def normalised(text: str) -> str:
    """Lower case, no punctuation, no English articles, single spaces (SQuAD, Rajpurkar et al., 1606.05250)."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact_match(answer: str, expected: str) -> float:
    """1 when both say the same words in the same order, else 0."""
    return float(normalised(answer) == normalised(expected))


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of the share of the answer's words that are expected and of the expected ones that are there."""
    said, wanted = normalised(answer).split(), normalised(expected).split()
    if not said or not wanted:
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted))
