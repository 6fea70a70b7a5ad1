"""Copies of a training set against a search by hand."""

import random

import numpy as np
import pytest

from nima_cli.engine.data.dedup import rolling_hash
from nima_cli.engine.evaluation.memorization import RUN_TOKENS, TrainingText


def occurs(window: list[int], train: list[int]) -> bool:
    return any(train[at : at + len(window)] == window for at in range(len(train) - len(window) + 1))


def by_hand(texts: list[list[int]], train: list[int]) -> tuple[int, int]:
    """(copied tokens, tokens of the longest copy)."""
    copied, longest = 0, 0
    for text in texts:
        covered: set[int] = set()
        for start in range(len(text)):
            for end in range(start + longest + 1, len(text) + 1):
                if occurs(text[start:end], train):
                    longest = end - start
            if start + RUN_TOKENS <= len(text) and occurs(text[start : start + RUN_TOKENS], train):
                covered |= set(range(start, start + RUN_TOKENS))
        copied += len(covered)
    return copied, longest


@pytest.mark.parametrize("stretch", [7, 64, 100_000])
@pytest.mark.parametrize("seed", range(4))
def test_every_copy_is_found_and_nothing_else(seed: int, stretch: int) -> None:
    draw = random.Random(seed)
    train = [draw.randrange(4) for _ in range(900)]
    texts = []
    for _ in range(4):
        at, length = draw.randrange(850), draw.randrange(10, 50)
        texts.append([draw.randrange(4) for _ in range(15)] + train[at : at + length] + [9] + train[:17])
    texts += [[], [9, 9], train[:5]]
    found = TrainingText(np.array(train, dtype=np.uint16), stretch=stretch).memorized(texts)
    assert (found.copied, found.longest) == by_hand(texts, train)
    assert found.tokens == sum(map(len, texts))
    text, first = found.longest_at
    assert occurs(texts[text][first : first + found.longest], train)


def test_equal_hashes_are_not_taken_for_equal_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a base of one, windows hash to the sum of their tokens: all orders of the same tokens collide."""
    monkeypatch.setattr(rolling_hash, "BASE", 1)
    draw = random.Random(5)
    train = [draw.randrange(3) for _ in range(400)]
    texts = [[draw.randrange(3) for _ in range(30)] + train[100:130], train[50:90]]
    found = TrainingText(np.array(train, dtype=np.uint16)).memorized(texts)
    assert (found.copied, found.longest) == by_hand(texts, train)


def test_a_text_that_shares_nothing_copies_nothing() -> None:
    found = TrainingText(np.arange(100, dtype=np.uint16)).memorized([[200, 201], []])
    assert (found.tokens, found.copied, found.longest, found.share) == (2, 0, 0, 0.0)
    assert TrainingText(np.arange(3, dtype=np.uint16)).memorized([[0, 1, 2, 3]]).longest == 3
    assert TrainingText(np.arange(3, dtype=np.uint16)).memorized([]).share == 0.0
