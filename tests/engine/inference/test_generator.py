"""Decoding: the cache never changes what is said, rows keep to their own seeds, and the context is no wall."""

from collections.abc import Sequence

import pytest
import torch

from nima_cli.engine.inference.generator import Generator, Stops
from nima_cli.engine.inference.sampling import Sampling
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import DivergedError
from tests.engine.small_models import random_model, small_shape

GREEDY = Sampling(temperature=0.0)
WARM = Sampling(temperature=1.0, top_k=0, top_p=1.0)
PROMPT = [5, 17, 42, 3]


@pytest.fixture(scope="module")
def model() -> GPT:
    return random_model(small_shape(n_kv_heads=2))


def decode(
    generator: Generator,
    prompt: Sequence[int],
    count: int,
    *,
    sampling: Sampling = GREEDY,
    seed: int = 0,
    stop: int = -1,
) -> list[int]:
    stops = Stops(frozenset({stop}), count)
    rows = list(generator.decode(prompt, sampling=sampling, stops=stops, seeds=[seed]))
    return [token for (token,) in rows if token is not None]


@torch.inference_mode()
def without_cache(model: GPT, prompt: Sequence[int], count: int) -> list[int]:
    """The most likely continuation, by running everything again for each token."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_decoding_is_the_most_likely_token_each_time(model: GPT) -> None:
    assert decode(Generator(model), PROMPT, 20) == without_cache(model, PROMPT, 20)


def test_a_second_prompt_that_shares_a_beginning_is_answered_as_if_fresh(model: GPT) -> None:
    generator = Generator(model)
    first = decode(generator, PROMPT, 6)
    follow_ups = [[*PROMPT, *first, 9, 8], [*PROMPT, *first[:3], 50], PROMPT, [5, 60], [70], [*PROMPT, *first]]
    for prompt in follow_ups:
        assert decode(generator, prompt, 6) == without_cache(model, prompt, 6), prompt


def test_an_answer_cut_short_leaves_a_cache_that_is_still_right(model: GPT) -> None:
    generator = Generator(model)
    stream = generator.decode(PROMPT, sampling=GREEDY, stops=Stops(frozenset(), 10), seeds=[0])
    begun = [next(stream)[0] for _ in range(3)]
    del stream
    prompt = [*PROMPT, *(token for token in begun if token is not None), 11]
    assert decode(generator, prompt, 6) == without_cache(model, prompt, 6)


def test_what_is_already_cached_is_not_computed_again(model: GPT) -> None:
    """Counts the positions that go through the first layer."""
    computed: list[int] = []
    hook = model.layers[0].register_forward_hook(lambda _, inputs, __: computed.append(inputs[0].shape[1]))
    try:
        generator = Generator(model)
        answer = decode(generator, PROMPT, 5)
        assert computed == [4, 1, 1, 1, 1]
        computed.clear()
        decode(generator, [*PROMPT, *answer[:4], 33, 34], 1)
        assert computed == [2]
    finally:
        hook.remove()


def test_the_same_seed_says_the_same_and_another_something_else(model: GPT) -> None:
    first = decode(Generator(model), PROMPT, 12, sampling=WARM, seed=1)
    assert decode(Generator(model), PROMPT, 12, sampling=WARM, seed=1) == first
    assert decode(Generator(model), PROMPT, 12, sampling=WARM, seed=2) != first


def test_a_row_is_the_same_whatever_its_neighbours(model: GPT) -> None:
    alone = [decode(Generator(model), PROMPT, 30, sampling=WARM, seed=seed) for seed in (3, 4, 5)]
    rows = list(Generator(model).decode(PROMPT, sampling=WARM, stops=Stops(frozenset(), 30), seeds=[3, 4, 5]))
    assert [[row[index] for row in rows] for index in range(3)] == alone


def test_many_rows_after_one_and_one_after_many(model: GPT) -> None:
    generator = Generator(model)
    alone = decode(generator, PROMPT, 6)
    rows = list(generator.decode(PROMPT, sampling=GREEDY, stops=Stops(frozenset(), 6), seeds=[0, 1]))
    assert [list(row) for row in zip(*rows, strict=True)] == [alone, alone]
    rows = list(generator.decode([*PROMPT, 8], sampling=GREEDY, stops=Stops(frozenset(), 6), seeds=[0, 1]))
    assert [row[0] for row in rows] == without_cache(model, [*PROMPT, 8], 6)
    assert decode(generator, PROMPT, 6) == alone


def test_rows_that_went_apart_share_their_prompt_only(model: GPT) -> None:
    generator = Generator(model)
    rows = list(generator.decode(PROMPT, sampling=WARM, stops=Stops(frozenset(), 6), seeds=[0, 1]))
    first, second = ([row[index] for row in rows] for index in range(2))
    assert first != second
    prompt = [*PROMPT, *(token for token in first if token is not None), 8]
    answers = list(generator.decode(prompt, sampling=GREEDY, stops=Stops(frozenset(), 6), seeds=[0, 1]))
    assert [list(row) for row in zip(*answers, strict=True)] == [without_cache(model, prompt, 6)] * 2


def test_an_interrupted_pass_leaves_a_cache_that_is_still_right(model: GPT) -> None:
    """Ctrl-C may come between two layers, when one has written its keys and the next has not."""
    generator = Generator(model)
    decode(generator, PROMPT, 6)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    hook = model.layers[1].register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            decode(generator, [5, 60, 61, 62, 63], 6)
    finally:
        hook.remove()
    again = [*PROMPT, *without_cache(model, PROMPT, 5)]
    assert decode(generator, again, 6) == without_cache(model, again, 6)


def test_a_row_that_has_ended_stays_silent_while_the_others_go_on(model: GPT) -> None:
    seeds = [0, 1, 2, 3]
    alone = [decode(Generator(model), PROMPT, 15, sampling=WARM, seed=seed) for seed in seeds]
    stop = alone[0][4]
    expected = [ids[: ids.index(stop)] if stop in ids else ids for ids in alone]
    assert len({len(ids) for ids in expected}) > 1, "the rows of this test must end at different places"
    rows = list(Generator(model).decode(PROMPT, sampling=WARM, stops=Stops(frozenset({stop}), 15), seeds=seeds))
    found = [[row[index] for row in rows] for index in range(4)]
    assert [[token for token in row if token is not None] for row in found] == expected
    for row, ids in zip(found, expected, strict=True):
        assert row[len(ids) :] == [None] * (len(rows) - len(ids))


def test_a_stop_symbol_is_not_returned_and_ends_the_stream(model: GPT) -> None:
    free = decode(Generator(model), PROMPT, 10)
    stop = free[3]
    assert decode(Generator(model), PROMPT, 10, stop=stop) == free[: free.index(stop)]


@pytest.mark.parametrize("length", [23, 24, 25, 240])
def test_a_prompt_longer_than_the_context_keeps_its_end(model: GPT, length: int) -> None:
    ids = torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    generator = Generator(model)
    assert generator.fit(ids, 6) == ids[-18:]
    assert generator.fit(ids, 10_000) == ids[-12:]
    assert decode(generator, ids, 6) == without_cache(model, ids[-18:], 6)


def test_generation_goes_on_far_past_the_context(model: GPT) -> None:
    ids = decode(Generator(model), PROMPT, 130, sampling=WARM)
    assert len(ids) == 130
    assert all(0 <= token < 97 for token in ids)
    rows = list(Generator(model).decode(PROMPT, sampling=WARM, stops=Stops(frozenset(), 130), seeds=[0, 1]))
    assert [row[0] for row in rows] == ids


@torch.inference_mode()
def test_when_the_context_is_full_the_newest_half_goes_on(model: GPT) -> None:
    said = list(PROMPT)
    window = list(PROMPT)
    for _ in range(60):
        token = int(model(torch.tensor([window]))[0, -1].argmax())
        said.append(token)
        window = said[-12:] if len(window) == 24 else [*window, token]
    assert decode(Generator(model), PROMPT, 60) == said[len(PROMPT) :]


def test_a_chat_after_a_full_context_is_answered_as_if_fresh(model: GPT) -> None:
    generator = Generator(model)
    decode(generator, PROMPT, 40)
    assert decode(generator, [*PROMPT, 7], 6) == without_cache(model, [*PROMPT, 7], 6)


def test_predictions_that_are_not_finite_are_an_error() -> None:
    broken = random_model(small_shape())
    with torch.no_grad():
        broken.norm.weight[0] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        decode(Generator(broken), PROMPT, 3)


def test_sixteen_bit_decodes_like_sixteen_bit_runs() -> None:
    """Cache and model in bfloat16: lengths and types fit, and the first token is that of a whole pass."""
    half = random_model(small_shape(n_kv_heads=2), compute_dtype=torch.bfloat16).to(torch.bfloat16)
    ids = decode(Generator(half), PROMPT, 30)
    assert len(ids) == 30
    assert ids[0] == without_cache(half, PROMPT, 1)[0]
