"""The leak report finds exactly the runs that a naive search finds."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.dedup.contamination import RUN_TOKENS, TokenBlock, shared_runs


def reader(documents: list[list[int]], first: int = 0, per_block: int = 3):  # type: ignore[no-untyped-def]
    def read() -> Iterator[TokenBlock]:
        for start in range(0, len(documents), per_block):
            group = documents[start : start + per_block]
            tokens = np.array([token for document in group for token in document], dtype=np.uint32)
            numbers = np.repeat(np.arange(first + start, first + start + len(group)), [len(one) for one in group])
            yield TokenBlock(tokens, numbers)

    return read


def naive(held_out: list[list[int]], train: list[list[int]]) -> list[tuple[int, int]]:
    """(document, tokens) of every maximal stretch of windows that train has."""
    windows = {
        tuple(document[start : start + RUN_TOKENS])
        for document in train
        for start in range(len(document) - RUN_TOKENS + 1)
    }
    found = []
    for number, document in enumerate(held_out):
        length = 0
        for start in range(len(document) - RUN_TOKENS + 2):
            inside = start <= len(document) - RUN_TOKENS
            if inside and tuple(document[start : start + RUN_TOKENS]) in windows:
                length += 1
            elif length:
                found.append((number, length + RUN_TOKENS - 1))
                length = 0
    return found


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    """Documents over few ids, with stretches of train copied into the held-out side."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ids = draw(st.sampled_from([2, 5, 4000]))
    train = [rng.integers(0, ids, size=size).tolist() for size in draw(st.lists(st.integers(0, 300), max_size=8))]
    held_out = []
    for _ in range(draw(st.integers(0, 7))):
        document = rng.integers(0, ids, size=int(rng.integers(0, 120))).tolist()
        if train:
            source = train[int(rng.integers(len(train)))]
            start = int(rng.integers(0, len(source) + 1))
            document += source[start : start + int(rng.integers(40, 70))]
        held_out.append(document + rng.integers(0, ids, size=int(rng.integers(0, 60))).tolist())
    return held_out, train


@settings(max_examples=150)
@given(corpora())
def test_the_runs_are_those_of_a_naive_search(pair: tuple[list[list[int]], list[list[int]]]) -> None:
    held_out, train = pair
    found = [(run.document, run.tokens) for run in shared_runs(reader(held_out), reader(train))]
    assert found == naive(held_out, train)


@pytest.mark.parametrize(("shared", "runs"), [(RUN_TOKENS - 1, 0), (RUN_TOKENS, 1), (RUN_TOKENS + 37, 1)])
def test_a_run_counts_from_fifty_tokens_on_and_says_where_it_is_from(shared: int, runs: int) -> None:
    common = list(range(1000, 1000 + shared))
    train = [list(range(200)), [7, *common, 8], common]
    held_out = [[1, 2], [9, *common, 10]]
    found = list(shared_runs(reader(held_out, first=50), reader(train)))
    assert [(run.document, run.train_document, run.tokens) for run in found] == [(51, 1, shared)] * runs


def test_a_run_does_not_cross_documents() -> None:
    text = list(range(80))
    assert not list(shared_runs(reader([text]), reader([text[:40], text[40:]])))
    assert not list(shared_runs(reader([text[:40], text[40:]]), reader([text])))
