"""Decoding: the cache never changes what is said, company never does, and the context is no wall."""

from collections.abc import Sequence

import pytest
import torch

from nima_cli.engine.inference.generator import Generator, StoppingCriteria
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import DivergedError
from tests.engine.small_models import random_model, small_shape

GREEDY = SamplingParams(temperature=0.0)
WARM = SamplingParams(temperature=1.0, top_k=0, top_p=1.0)
PROMPT = [5, 17, 42, 3]


@pytest.fixture(scope="module")
def model() -> GPT:
    return random_model(small_shape(n_kv_heads=2))


def decode(
    generator: Generator,
    prompt: Sequence[int],
    count: int,
    *,
    sampling: SamplingParams = GREEDY,
    seed: int = 0,
    stop: int = -1,
    reuse: bool = True,
) -> list[int]:
    stops = StoppingCriteria(frozenset({stop} if stop >= 0 else ()), count)
    return list(generator.decode(prompt, sampling=sampling, stops=stops, seed=seed, reuse_prefix=reuse))


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
    stream = generator.decode(
        PROMPT, sampling=GREEDY, stops=StoppingCriteria(frozenset(), 10), seed=0, reuse_prefix=True
    )
    begun = [next(stream) for _ in range(3)]
    del stream
    prompt = [*PROMPT, *begun, 11]
    assert decode(generator, prompt, 6) == without_cache(model, prompt, 6)


def test_what_is_already_cached_is_not_computed_again(model: GPT) -> None:
    """Counts the positions that go through the first layer."""
    computed: list[int] = []
    hook = model.layers[0].register_forward_hook(lambda _, inputs, __: computed.append(inputs[0].shape[1]))
    try:
        generator = Generator(model)
        answer = decode(generator, PROMPT, 5)
        assert computed == [3, 1, 1, 1, 1, 1]
        computed.clear()
        decode(generator, [*PROMPT, *answer[:4], 33, 34], 1)
        assert computed == [1, 1]
        computed.clear()
        generator.prefill([*PROMPT, 7])
        decode(generator, [*PROMPT, 7, 8], 1)
        assert computed == [4, 1, 1]
    finally:
        hook.remove()


def test_the_same_seed_says_the_same_and_another_something_else(model: GPT) -> None:
    first = decode(Generator(model), PROMPT, 12, sampling=WARM, seed=1)
    assert decode(Generator(model), PROMPT, 12, sampling=WARM, seed=1) == first
    assert decode(Generator(model), PROMPT, 12, sampling=WARM, seed=2) != first


def predictions(generator: Generator, prompt: Sequence[int], seed: int) -> tuple[list[int], list[torch.Tensor]]:
    """The continuation, and the logits that each of its ids was drawn from."""
    seen: list[torch.Tensor] = []
    hook = generator.model.register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    try:
        return decode(generator, prompt, 60, sampling=WARM, seed=seed, reuse=False), seen
    finally:
        hook.remove()


def test_what_is_said_before_changes_no_bit_of_what_is_said_now(model: GPT) -> None:
    """Prompts that begin alike, samples of one prompt, and a prompt that goes on where an answer ended."""
    first = decode(Generator(model), PROMPT, 6, sampling=WARM, seed=0)
    prompts = [PROMPT, PROMPT, [*PROMPT, *first[:3]], [*PROMPT, 9], [*PROMPT, *first], [5], [5], PROMPT]
    generator = Generator(model)
    for seed, prompt in enumerate(prompts):
        together, alone = predictions(generator, prompt, seed), predictions(Generator(model), prompt, seed)
        assert together[0] == alone[0]
        assert all(torch.equal(one, other) for one, other in zip(together[1], alone[1], strict=True)), (seed, prompt)


def test_samples_of_one_prompt_pay_for_it_once(model: GPT) -> None:
    computed: list[int] = []
    hook = model.layers[0].register_forward_hook(lambda _, inputs, __: computed.append(inputs[0].shape[1]))
    try:
        generator = Generator(model)
        for seed in range(3):
            decode(generator, PROMPT, 1, seed=seed, reuse=False)
        assert computed == [3, 1, 1, 1]
    finally:
        hook.remove()


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


def test_a_stop_symbol_is_not_returned_and_ends_the_stream(model: GPT) -> None:
    free = decode(Generator(model), PROMPT, 10)
    stop = free[3]
    assert decode(Generator(model), PROMPT, 10, stop=stop) == free[: free.index(stop)]


def test_the_penalty_on_repetition_does_not_keep_a_text_from_ending(model: GPT) -> None:
    """The end of a turn is in the prompt of every later turn."""
    said = [*PROMPT, *without_cache(model, PROMPT, 18)]
    at = next(at for at in range(len(PROMPT), len(said)) if said[at] in said[:at])
    harsh = SamplingParams(temperature=0.0, repetition_penalty=100.0)
    assert decode(Generator(model), said[:at], 1, sampling=harsh) != [said[at]]
    assert decode(Generator(model), said[:at], 1, sampling=harsh, stop=said[at]) == []


@pytest.mark.parametrize("length", [23, 24, 25, 240])
def test_a_prompt_longer_than_the_context_keeps_its_end(model: GPT, length: int) -> None:
    ids = torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    generator = Generator(model)
    kept = [ids[0], *ids[-17:]]
    assert generator.truncate_prompt(ids, 6) == kept
    assert generator.truncate_prompt(ids, 10_000) == [ids[0], *ids[-11:]]
    assert generator.truncate_prompt(ids, 6, n_keep=3) == [*ids[:3], *ids[-15:]]
    assert decode(generator, ids, 6) == without_cache(model, kept, 6)


def test_what_is_kept_stays_when_the_context_overflows(model: GPT) -> None:
    """24 positions: what follows the 24th id comes from the first two and the newest 16."""
    stops = StoppingCriteria(frozenset(), 40)
    answer = list(Generator(model).decode(PROMPT, sampling=GREEDY, stops=stops, seed=0, n_keep=2))
    said = [*PROMPT, *answer]
    assert said[25] == without_cache(model, [*PROMPT[:2], *said[9:25]], 1)[0]
    assert said[26] == without_cache(model, [*PROMPT[:2], *said[9:25]], 2)[1]


def test_generation_goes_on_far_past_the_context(model: GPT) -> None:
    ids = decode(Generator(model), PROMPT, 130, sampling=WARM)
    assert len(ids) == 130
    assert all(0 <= token < 97 for token in ids)


@torch.inference_mode()
def test_when_the_context_is_full_its_first_id_and_its_newest_three_quarters_go_on(model: GPT) -> None:
    said = list(PROMPT)
    window = list(PROMPT)
    for _ in range(60):
        token = int(model(torch.tensor([window]))[0, -1].argmax())
        said.append(token)
        window = [said[0], *said[-17:]] if len(window) == 24 else [*window, token]
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
