"""The 5-gram model against its textbook definition, written out with dictionaries."""

import math
import random
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nima_cli.engine.evaluation.ngrams import NgramModel, unigram_losses

BOS, VOCAB = 1, 9


def samples(seed: int, count: int) -> list[list[int]]:
    """Short texts with repetitions, each after the boundary symbol."""
    draw = random.Random(seed)
    phrases = [[draw.randrange(2, VOCAB) for _ in range(draw.randrange(1, 7))] for _ in range(6)]
    return [
        [BOS, *(token for _ in range(draw.randrange(1, 5)) for token in draw.choice(phrases))] for _ in range(count)
    ]


def flat(texts: list[list[int]]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    places = [place for text in texts for place in range(len(text))]
    return np.array([token for text in texts for token in text], dtype=np.uint16), np.array(places, dtype=np.int64)


class ByDefinition:
    """Interpolated modified Kneser-Ney, equation by equation."""

    def __init__(self, texts: list[list[int]], order: int) -> None:
        grams = [
            Counter(tuple(text[end - size + 1 : end + 1]) for text in texts for end in range(size - 1, len(text)))
            for size in range(1, order + 1)
        ]
        self.counts: list[dict[tuple[int, ...], int]] = []
        for size in range(1, order + 1):
            if size == order:
                self.counts.append(dict(grams[-1]))
                continue
            before = defaultdict(set)
            for gram in grams[size]:
                before[gram[1:]].add(gram[0])
            adjusted = {gram: len(found) for gram, found in before.items()}
            if size > 1:
                adjusted |= {gram: count for gram, count in grams[size - 1].items() if gram[0] == BOS}
            self.counts.append(adjusted)
        self.discounts = [self._discounts(Counter(counts.values())) for counts in self.counts]

    @staticmethod
    def _discounts(of: Counter[int]) -> list[float]:
        if not (of[1] and of[2] and of[3]):
            return [0.0, 0.5, 1.0, 1.5]
        y = of[1] / (of[1] + 2 * of[2])
        found = [0.0, *(n - (n + 1) * y * of[n + 1] / of[n] for n in (1, 2, 3))]
        return found if all(0 < found[n] <= n for n in (1, 2, 3)) else [0.0, 0.5, 1.0, 1.5]

    def probability(self, history: tuple[int, ...], token: int) -> float:
        """Of `token` after at most `order` - 1 others."""
        size = len(history) + 1
        lower = self.probability(history[1:], token) if history else 1 / VOCAB
        counts, discounts = self.counts[size - 1], self.discounts[size - 1]
        after = {gram: count for gram, count in counts.items() if gram[:-1] == history}
        total = sum(after.values())
        if not total:
            return lower
        left = sum(discounts[min(3, count)] for count in after.values()) / total
        count = after.get((*history, token), 0)
        return (count - discounts[min(3, count)]) / total + left * lower


@pytest.mark.parametrize(("seed", "count", "order"), [(1, 40, 5), (2, 200, 5), (3, 3, 5), (4, 60, 3), (5, 60, 2)])
def test_each_token_costs_what_the_definition_says(seed: int, count: int, order: int) -> None:
    train, held_out = samples(seed, count), samples(seed, count)[:5] + samples(seed + 100, 5)
    expected = ByDefinition(train, order)
    found = NgramModel(*flat(train), vocab_size=VOCAB, order=order).losses(*flat(held_out))
    wanted = [
        -math.log(expected.probability(tuple(text[max(0, place - order + 1) : place]), text[place]))
        for text in held_out
        for place in range(len(text))
    ]
    counted = flat(held_out)[1] > 0
    np.testing.assert_allclose(found[counted], np.array(wanted)[counted], rtol=1e-5)


def test_the_chances_of_all_tokens_add_up_to_one() -> None:
    model = NgramModel(*flat(samples(7, 100)), vocab_size=VOCAB)
    for history in ([BOS], [BOS, 3], [BOS, 2, 3, 4], [BOS, 8, 8, 8, 8, 8], samples(7, 100)[0][:5]):
        texts = [[*history, token] for token in range(VOCAB)]
        last = np.cumsum([len(text) for text in texts]) - 1
        assert np.exp(-model.losses(*flat(texts))[last]).sum() == pytest.approx(1.0, rel=1e-5)


def test_longer_histories_help_on_text_that_repeats() -> None:
    train, held_out = flat(samples(9, 300)), flat(samples(9, 300)[::7])
    counted = held_out[1] > 0
    mean = [NgramModel(*train, vocab_size=VOCAB, order=n).losses(*held_out)[counted].mean() for n in (2, 3, 5)]
    assert mean == sorted(mean, reverse=True)


def test_unigrams_are_frequencies_and_leave_something_for_what_was_never_seen() -> None:
    train = np.array([BOS, 2, 2, 2, 3, BOS, 2], dtype=np.uint16)
    nats = unigram_losses(train[train != BOS], np.arange(VOCAB), vocab_size=VOCAB)
    assert np.exp(-nats).sum() == pytest.approx(1.0)
    assert math.exp(-nats[2]) == pytest.approx((4 + 2 / VOCAB) / (5 + 2))
    assert math.exp(-nats[5]) == pytest.approx((2 / VOCAB) / (5 + 2))
