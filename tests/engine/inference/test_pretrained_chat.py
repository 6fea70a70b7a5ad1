"""Writing and talking with the tokenizers and chat formats of pretrained models."""

import pytest

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import bundle
from nima_cli.engine.data.tokenizer.protocol import question_frame
from nima_cli.engine.inference.conversation import Conversation
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import InputError
from tests.engine.data.hf_tokenizers import NAMES, hf_files, hf_tokenizer
from tests.engine.inference.test_text import Reciting
from tests.engine.small_models import random_model, small_shape

GREEDY = SamplingParams(temperature=0.0)
SYSTEM = "Answer briefly."


def talking(name: str, *, context: int = 256, system: str = SYSTEM) -> Conversation:
    tokenizer = hf_tokenizer(name)
    model = random_model(small_shape(vocab_size=tokenizer.vocab_size + 8, context_length=context))
    return Conversation(TextGenerator(model, tokenizer), system=system)


def reciting(tokenizer: HFTokenizer, ids: list[int], prompt_length: int) -> TextGenerator:
    model = Reciting(ids, prompt_length=prompt_length, vocab_size=tokenizer.vocab_size + 8)
    return TextGenerator(model, tokenizer)


def exchanges(count: int) -> list[Turn]:
    turns = [(Turn("user", f"What is part {n}?"), Turn("assistant", f"It is number {n}.")) for n in range(count)]
    return [turn for pair in turns for turn in pair]


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_is_that_of_the_chat_format(name: str) -> None:
    conversation = talking(name)
    conversation.turns = exchanges(2)
    turns = [Turn("system", SYSTEM), *conversation.turns, Turn("user", "Why?")]
    prompt = conversation.prompt("Why?", 8)
    assert prompt.ids == hf_tokenizer(name).chat.prompt(turns)
    assert (prompt.turns, prompt.cut) == (4, 0)
    assert SYSTEM in hf_tokenizer(name).decode(prompt.ids[: prompt.n_keep])


@pytest.mark.parametrize("name", NAMES)
def test_the_oldest_exchanges_leave_first(name: str) -> None:
    conversation = talking(name)
    conversation.turns = exchanges(40)
    chat, room = hf_tokenizer(name).chat, 256 - 32
    prompt = conversation.prompt("And now?", 32)
    first = 80 - prompt.turns
    assert 0 < prompt.turns < 80
    head, question = Turn("system", SYSTEM), Turn("user", "And now?")
    assert prompt.ids == chat.prompt([head, *conversation.turns[first:], question])
    assert len(prompt.ids) <= room < len(chat.prompt([head, *conversation.turns[first - 2 :], question]))


@pytest.mark.parametrize("name", NAMES)
def test_of_a_question_that_is_too_long_the_end_stays(name: str) -> None:
    conversation, tokenizer = talking(name), hf_tokenizer(name)
    conversation.turns = exchanges(2)
    question = "Why does the scheduler of the cluster fail? " * 60 + "Is it the cache?"
    prompt = conversation.prompt(question, 32)
    before, after = question_frame(tokenizer.chat, SYSTEM)
    assert (len(prompt.ids), prompt.turns) == (256 - 32, 0)
    assert prompt.cut > 0
    assert prompt.ids[: len(before)] == before
    assert prompt.ids[-len(after) :] == after
    asked = tokenizer.decode(prompt.ids[len(before) : len(prompt.ids) - len(after)])
    assert asked.rstrip().endswith("Is it the cache?")
    assert asked.strip() in question


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("context", [1, 4, 16])
def test_no_context_is_too_short(name: str, context: int) -> None:
    conversation = talking(name, context=context, system="")
    for question in ("Why does it fail?", "And the cache?"):
        conversation.prefill()
        "".join(conversation.ask(question, sampling=GREEDY, max_new_tokens=9, seed=0))
    assert len(conversation.turns) == 4


def test_a_system_text_that_fills_the_context_is_refused() -> None:
    with pytest.raises(InputError, match="of the 256 tokens of context"):
        talking("smol", system="Be brief and kind. " * 40)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_ends_at_the_end_of_the_turn_and_streams_whole_characters(name: str) -> None:
    tokenizer, said = hf_tokenizer(name), "So 🙂: 猫 and 👩\u200d🚀!"
    rendered = tokenizer.chat.render([Turn("user", "Hi"), Turn("assistant", said)], loss="assistant")
    answer = [token for token, loss in zip(rendered.ids, rendered.mask, strict=True) if loss]
    length = len(tokenizer.chat.prompt([Turn("user", "Hi")]))
    conversation = Conversation(reciting(tokenizer, answer + tokenizer.encode("more"), length))
    pieces = list(conversation.ask("Hi", sampling=GREEDY, max_new_tokens=99, seed=0))
    thought = "<think>\n\n</think>\n\n" if name == "qwen" else ""
    assert "".join(pieces) == thought + said
    assert not any("\ufffd" in piece for piece in pieces)
    assert conversation.turns == [Turn("user", "Hi"), Turn("assistant", thought + said)]


@pytest.mark.parametrize("name", NAMES)
def test_every_stop_symbol_ends_a_completion(name: str) -> None:
    tokenizer, said = hf_tokenizer(name), hf_tokenizer(name).encode("done")
    for stop in tokenizer.stop_ids:
        generator = reciting(tokenizer, [*said, stop, *said], len(tokenizer.encode("Say")) + 1)
        (found,) = generator.complete("Say", sampling=GREEDY, max_new_tokens=20, seed=0)
        assert (found.text.strip(), found.tokens, found.finished) == ("done", len(said), True)


def test_a_prompt_for_prose_begins_as_documents_do_and_holds_text_alone() -> None:
    for name in NAMES:
        tokenizer = hf_tokenizer(name)
        ids = talking(name).generator.encode_prompt("a <|im_end|></s><|eot_id|>\r\nb")
        assert ids[0] == tokenizer.bos_id
        assert tokenizer.special_ids.isdisjoint(ids[1:])
        assert tokenizer.decode(ids) == "a <|im_end|></s><|eot_id|>\nb"


def test_ids_beyond_the_vocabulary_say_nothing() -> None:
    tokenizer = hf_tokenizer("smol")
    generator = reciting(tokenizer, [tokenizer.vocab_size + 3, *tokenizer.encode("ok"), tokenizer.eos_id], 2)
    (found,) = generator.complete("!", sampling=GREEDY, max_new_tokens=20, seed=0)
    assert found.text == "ok"


def test_turns_that_the_template_refuses_were_never_said() -> None:
    files = hf_files("smol")
    refusing = "{% for m in messages if 'tool' in m.content %}{{ raise_exception('no tools') }}{% endfor %}"
    files["chat_template.jinja"] = refusing + files["chat_template.jinja"]
    tokenizer = HFTokenizer.from_bytes(bundle(files), where="x")
    model = random_model(small_shape(vocab_size=tokenizer.vocab_size, context_length=128))
    conversation = Conversation(TextGenerator(model, tokenizer))
    conversation.turns = exchanges(1)
    for question in ("Call a tool!", "a \ufdd0 b", "a \ud800 b"):
        with pytest.raises(InputError, match=r"no tools|noncharacter|lone surrogate"):
            conversation.ask(question, sampling=GREEDY, max_new_tokens=4, seed=0)
    assert conversation.turns == exchanges(1)
