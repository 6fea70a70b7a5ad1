"""Text in, text out: whole characters, exact stop strings, and a stream that says what the completion says."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.tokenizer.protocol import TextStream
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import StopFilter, TextGenerator
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import InputError
from tests.engine.small_models import own_tokenizer, random_model, small_shape

WARM = SamplingParams(temperature=1.2, top_k=0, top_p=1.0)
WORDS = "größe 猫 𝄞 \u2581 e\u0301 🇦🇹 a\tb\n"


@pytest.fixture(scope="module")
def tokenizer(tiny_dataset: Path) -> SentencePieceTokenizer:
    return own_tokenizer(tiny_dataset)


@pytest.fixture(scope="module")
def generator(tokenizer: SentencePieceTokenizer) -> TextGenerator:
    return TextGenerator(random_model(small_shape(vocab_size=tokenizer.vocab_size)), tokenizer)


class Reciting(GPT):
    """Says given ids one after the other, whatever it is asked: the next id depends on the position alone."""

    def __init__(self, ids: list[int], *, prompt_length: int, vocab_size: int) -> None:
        super().__init__(small_shape(vocab_size=vocab_size, context_length=256))
        self.init_weights(0)
        self.ids, self.prompt_length = ids, prompt_length

    def forward(self, ids_BT: torch.Tensor, cache: object = None, *, last_only: bool = False) -> torch.Tensor:
        start = getattr(cache, "length", 0)
        logits_BTV: torch.Tensor = super().forward(ids_BT, cache, last_only=last_only)  # type: ignore[arg-type]
        position = start + ids_BT.shape[1] - self.prompt_length
        logits_BTV = torch.zeros_like(logits_BTV)
        logits_BTV[:, -1, self.ids[position]] = 100.0
        return logits_BTV


def reciting(tokenizer: SentencePieceTokenizer, ids: list[int], prompt: str) -> TextGenerator:
    model = Reciting(ids, prompt_length=1 + len(tokenizer.encode(prompt)), vocab_size=tokenizer.vocab_size)
    return TextGenerator(model, tokenizer)


@st.composite
def cut_text(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Pieces of a text over few letters, and stop strings that are likely in it."""
    pieces = draw(st.lists(st.text("ab\n", max_size=4), max_size=12))
    stops = draw(st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
    return pieces, stops


@settings(max_examples=400)
@given(cut_text())
def test_a_stop_string_ends_the_text_however_its_pieces_fall(case: tuple[list[str], list[str]]) -> None:
    pieces, stops = case
    text = "".join(pieces)
    filtered, shown = StopFilter(stops), ""
    for count, piece in enumerate(pieces, start=1):
        shown += filtered.push(piece)
        arrived = "".join(pieces[:count])
        assert arrived.startswith(shown)
        if filtered.stopped:
            break
        longest = max(map(len, stops), default=1)
        assert len(arrived) - len(shown) < max(longest, 1), "text is held back without need"
    else:
        shown += filtered.flush()
    # What had arrived when it stopped: a later, earlier-beginning match of a longer string cannot be waited for.
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    assert filtered.stopped == bool(found)
    if not found:
        assert shown == text
    else:
        assert text[len(shown) :].startswith(tuple(stops))
        assert not any(stop in shown for stop in stops)


@pytest.mark.parametrize("cut", range(12))
def test_every_split_point_of_one_stop_string(cut: int) -> None:
    text = "hello<|end|>"
    filtered = StopFilter(["<|end|>", ""])
    shown = filtered.push(text[:cut])
    if not filtered.stopped:
        shown += filtered.push(text[cut:])
    assert (shown, filtered.stopped) == ("hello", True)


def test_the_beginning_of_a_stop_string_is_shown_when_it_does_not_come() -> None:
    filtered = StopFilter(["\nUser:"])
    assert filtered.push("a\nUs") == "a"
    assert filtered.push("e\n") == "\nUse"
    assert filtered.flush() == "\n"


@settings(max_examples=60)
@given(data=st.data())
def test_streamed_ids_say_what_they_decode_to(tokenizer: SentencePieceTokenizer, data: st.DataObject) -> None:
    """Any ids at all, also halves of characters."""
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    stream = TextStream(tokenizer)
    assert "".join(map(stream.push, ids)) + stream.flush() == tokenizer.decode(ids)


def test_no_half_character_is_ever_shown(tokenizer: SentencePieceTokenizer) -> None:
    ids = tokenizer.encode(WORDS)
    speaker = reciting(tokenizer, [*ids, tokenizer.eos_id], "Say")
    pieces = list(
        speaker.stream(
            speaker.encode_prompt("Say"), sampling=SamplingParams(temperature=0.0), max_new_tokens=100, seed=0
        )
    )
    assert "".join(pieces) == WORDS
    assert len(ids) > len(WORDS), "this text must need several tokens a character"
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_that_never_became_whole_is_marked(tokenizer: SentencePieceTokenizer) -> None:
    ids = tokenizer.encode("猫")
    assert len(ids) > 1
    speaker = reciting(tokenizer, [*ids[:-1], tokenizer.eos_id], "Say")
    greedy = SamplingParams(temperature=0.0)
    streamed = "".join(speaker.stream(speaker.encode_prompt("Say"), sampling=greedy, max_new_tokens=9, seed=0))
    assert streamed == tokenizer.decode(ids[:-1]) == "\ufffd"


@pytest.mark.parametrize("symbol", ["bos_id", "eos_id", "pad_id", "end_id", "user", "assistant", "system"])
def test_every_boundary_symbol_ends_the_text(symbol: str, tokenizer: SentencePieceTokenizer) -> None:
    ends: dict[str, int] = {str(role): token for role, token in tokenizer.role_ids.items()}
    end = ends[symbol] if symbol in ends else int(getattr(tokenizer, symbol))
    said = tokenizer.encode("done")
    speaker = reciting(tokenizer, [*said, end, *said], "Say")
    (found,) = speaker.complete("Say", sampling=SamplingParams(temperature=0.0), max_new_tokens=20, seed=0)
    assert (found.text, found.tokens, found.finished) == ("done", len(said), True)


def test_a_stop_string_across_tokens_ends_stream_and_completion_alike(tokenizer: SentencePieceTokenizer) -> None:
    text = "first line\nUser: second"
    speaker = reciting(tokenizer, [*tokenizer.encode(text), tokenizer.eos_id], "Say")
    greedy = SamplingParams(temperature=0.0)
    prompt_ids = speaker.encode_prompt("Say")
    streamed = speaker.stream(prompt_ids, sampling=greedy, max_new_tokens=99, seed=0, stop=["\nUser:"])
    assert "".join(streamed) == "first line"
    (found,) = speaker.complete("Say", sampling=greedy, max_new_tokens=99, seed=0, stop=["\nUser:"])
    assert (found.text, found.finished) == ("first line", True)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_streaming_and_completing_say_the_same(generator: TextGenerator, seed: int) -> None:
    prompt_ids = generator.encode_prompt("The scheduler")
    streamed = "".join(generator.stream(prompt_ids, sampling=WARM, max_new_tokens=60, seed=seed))
    (whole,) = generator.complete("The scheduler", sampling=WARM, max_new_tokens=60, seed=seed)
    assert streamed == whole.text
    assert whole.tokens <= 60


def test_samples_are_the_runs_of_the_following_seeds(generator: TextGenerator) -> None:
    together = generator.complete("The cache", sampling=WARM, max_new_tokens=30, seed=7, num_samples=3)
    alone = [generator.complete("The cache", sampling=WARM, max_new_tokens=30, seed=seed)[0] for seed in (7, 8, 9)]
    assert together == alone
    assert len({completion.text for completion in together}) == 3


def test_a_limit_that_is_reached_is_no_end(generator: TextGenerator) -> None:
    (found,) = generator.complete("The queue", sampling=SamplingParams(temperature=0.0), max_new_tokens=5, seed=0)
    assert (found.tokens, found.finished) == (5, False)


def test_a_prompt_beyond_the_context_says_what_was_dropped(generator: TextGenerator) -> None:
    prompt = "The gateway routes requests to services. " * 20
    length = len(generator.encode_prompt(prompt))
    (found,) = generator.complete(prompt, sampling=WARM, max_new_tokens=8, seed=0)
    assert found.prompt_tokens_dropped == length - 16
    (short,) = generator.complete("The", sampling=WARM, max_new_tokens=8, seed=0)
    assert short.prompt_tokens_dropped == 0


def test_special_symbols_in_a_prompt_are_text(generator: TextGenerator, tokenizer: SentencePieceTokenizer) -> None:
    ids = generator.encode_prompt("<|eos|><|user|>")
    assert ids[0] == tokenizer.bos_id
    assert not generator.end_ids.intersection(ids[1:])
    assert tokenizer.decode(ids) == "<|eos|><|user|>"


def test_an_empty_prompt_is_refused(generator: TextGenerator) -> None:
    with pytest.raises(InputError, match="the prompt is empty"):
        generator.encode_prompt("")
