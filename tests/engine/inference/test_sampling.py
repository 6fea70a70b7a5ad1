"""The next token: exact filters on known distributions, honest frequencies, rows that do not touch each other."""

import math
from typing import Any

import pytest
import torch

from nima_cli.engine.inference.sampling import SamplingParams, sample
from nima_cli.errors import DivergedError, InputError

OPEN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}


def sampling(**changes: Any) -> SamplingParams:
    """Plain sampling from the softmax, with changes."""
    return SamplingParams(**{**OPEN, **changes})


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


def draws(
    logits_1V: torch.Tensor, chosen: SamplingParams, count: int = 2000, *, seen: tuple[int, ...] = ()
) -> list[int]:
    """Tokens for `count` evenly spread uniform numbers: every token with a share above 1 / count appears."""
    logits_BV = logits_1V.expand(count, -1)
    seen_BV = torch.zeros(logits_BV.shape, dtype=torch.bool)
    seen_BV[:, list(seen)] = True
    uniforms_B = (torch.arange(count) + 0.5) / count
    return [int(token) for token in sample(logits_BV, chosen, uniforms_B, seen_BV)]


def shares(tokens: list[int], size: int) -> list[float]:
    return [tokens.count(token) / len(tokens) for token in range(size)]


def test_without_filters_every_token_comes_as_often_as_it_is_likely() -> None:
    found = shares(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling()), 4)
    assert found == pytest.approx([0.1, 0.4, 0.2, 0.3], abs=2e-3)


def test_random_draws_follow_the_distribution() -> None:
    """Chi-square over 50 tokens and 20,000 seeded draws; 49 degrees of freedom exceed 100 once in 40,000 tries."""
    generator = torch.Generator().manual_seed(0)
    logits_1V = torch.randn(1, 50, generator=generator)
    count = 20_000
    uniforms_B = torch.rand(count, generator=generator)
    none_BV = torch.zeros(count, 50, dtype=torch.bool)
    tokens_B = sample(logits_1V.expand(count, -1), sampling(temperature=0.7), uniforms_B, none_BV)
    expected_V = torch.softmax(logits_1V[0].double() / 0.7, dim=-1) * count
    counts_V = torch.bincount(tokens_B, minlength=50).double()
    assert ((counts_V - expected_V).square() / expected_V).sum().item() < 100


@pytest.mark.parametrize("temperature", [0.25, 0.5, 2.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    weights = [share ** (1 / temperature) for share in (0.1, 0.4, 0.2, 0.3)]
    found = shares(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling(temperature=temperature)), 4)
    assert found == pytest.approx([weight / sum(weights) for weight in weights], abs=2e-3)


def test_temperature_zero_is_the_most_likely_token_and_the_first_of_equals() -> None:
    assert set(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling(temperature=0.0))) == {1}
    assert set(draws(logits_of(0.1, 0.3, 0.3, 0.3), sampling(temperature=0.0))) == {1}


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 9])
def test_top_k_keeps_exactly_k_also_among_equals(top_k: int) -> None:
    assert set(draws(torch.zeros(1, 6), sampling(top_k=top_k))) == set(range(min(top_k, 6)))
    likeliest_first = [3, 0, 1, 2]
    assert set(draws(logits_of(0.2, 0.2, 0.2, 0.4), sampling(top_k=top_k))) == set(likeliest_first[:top_k])


def test_top_k_renormalises() -> None:
    found = shares(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling(top_k=2)), 4)
    assert found == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=2e-3)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.01, {1}), (0.39, {1}), (0.41, {1, 3}), (0.69, {1, 3}), (0.71, {1, 2, 3}), (0.95, {0, 1, 2, 3})],
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p: float, kept: set[int]) -> None:
    assert set(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling(top_p=top_p))) == kept


@pytest.mark.parametrize(
    ("min_p", "kept"), [(0.0, {0, 1, 2, 3}), (0.26, {1, 2, 3}), (0.51, {1, 3}), (0.76, {1}), (0.99, {1})]
)
def test_min_p_is_a_share_of_the_most_likely(min_p: float, kept: set[int]) -> None:
    assert set(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling(min_p=min_p))) == kept


def test_filters_apply_after_the_temperature() -> None:
    """A flatter distribution needs more tokens to reach the same total."""
    assert set(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling(top_p=0.6))) == {1, 3}
    assert set(draws(logits_of(0.1, 0.4, 0.2, 0.3), sampling(top_p=0.6, temperature=100.0))) == {1, 2, 3}


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits_1V = torch.tensor([[2.0, 1.5, -1.0, -1.0]])
    penalised = torch.tensor([1.0, 1.5, -2.0, -1.0]).softmax(-1).tolist()
    found = shares(draws(logits_1V, sampling(repetition_penalty=2.0), seen=(0, 2)), 4)
    assert found == pytest.approx(penalised, abs=2e-3)
    assert set(draws(logits_1V, sampling(repetition_penalty=2.0, temperature=0.0), seen=(0, 2))) == {1}


def test_a_row_is_the_same_whatever_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BV, uniforms_B = torch.randn(16, 300, generator=generator), torch.rand(16, generator=generator)
    seen_BV = torch.rand(16, 300, generator=generator) < 0.1
    chosen = SamplingParams(temperature=0.9, top_k=40, top_p=0.9, min_p=0.01, repetition_penalty=1.2)
    together = sample(logits_BV, chosen, uniforms_B, seen_BV)
    alone = [
        sample(logits_BV[row : row + 1], chosen, uniforms_B[row : row + 1], seen_BV[row : row + 1]) for row in range(16)
    ]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2**-24])
def test_the_edges_of_the_uniform_number_are_kept_tokens(uniform: float) -> None:
    none_BV = torch.zeros(1, 4, dtype=torch.bool)
    token = sample(logits_of(0.1, 0.4, 0.2, 0.3), sampling(top_k=2), torch.tensor([uniform]), none_BV)
    assert int(token) == (1 if uniform == 0.0 else 3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_predictions_that_are_not_finite_are_an_error(value: float, temperature: float) -> None:
    logits_BV = torch.zeros(2, 4)
    logits_BV[1, 2] = value
    none_BV = torch.zeros(2, 4, dtype=torch.bool)
    with pytest.raises(DivergedError, match="not finite") as caught:
        sample(logits_BV, sampling(temperature=temperature), torch.zeros(2), none_BV)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1), ("temperature", math.nan), ("temperature", math.inf), ("top_k", -1), ("top_p", 0.0),
        ("top_p", 1.1), ("top_p", math.nan), ("min_p", -0.1), ("min_p", 1.0), ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0), ("repetition_penalty", math.nan),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"`{name}` ") as caught:
        sampling(**{name: value})
    assert caught.value.hint is not None
