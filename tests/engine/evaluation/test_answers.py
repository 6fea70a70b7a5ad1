"""Scores of answers, as SQuAD defines them."""

import pytest

from nima_cli.engine.evaluation.answers import exact_match, normalised, token_f1


def test_normalising_drops_case_punctuation_and_articles() -> None:
    assert normalised("The  Pod's `kubectl`,\n an answer!") == "pods kubectl answer"
    assert normalised("theatre and another") == "theatre and another"
    assert normalised("ÄRGER 名字 🙂") == "ärger 名字 🙂"


@pytest.mark.parametrize(
    ("answer", "expected", "f1", "exact"),
    [
        ("The cat sat.", "the cat sat", 1.0, 1.0),
        ("cat sat", "sat cat", 1.0, 0.0),
        ("a b c d", "b c", 2 * (2 / 3) * 1.0 / (2 / 3 + 1.0), 0.0),
        ("x x x", "x", 0.5, 0.0),
        ("", "x", 0.0, 0.0),
        ("the", "", 1.0, 1.0),
        ("dog", "cat", 0.0, 0.0),
    ],
)
def test_scores(answer: str, expected: str, f1: float, exact: float) -> None:
    assert token_f1(answer, expected) == pytest.approx(f1)
    assert exact_match(answer, expected) == exact
