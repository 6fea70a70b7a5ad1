"""A conversation: what it sends, what it forgets first, what it keeps, and that its cache changes nothing."""

import json
from pathlib import Path

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.inference.conversation import Conversation
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import InputError, ResourceError
from nima_cli.events import DatasetReady
from tests.engine.small_models import own_tokenizer, random_model, small_shape

GREEDY = SamplingParams(temperature=0.0)


@pytest.fixture(scope="module")
def tokenizer(tiny_dataset: Path) -> SentencePieceTokenizer:
    return own_tokenizer(tiny_dataset)


@pytest.fixture(scope="module")
def model(tokenizer: SentencePieceTokenizer) -> GPT:
    return random_model(small_shape(vocab_size=tokenizer.vocab_size, context_length=128))


@pytest.fixture
def conversation(model: GPT, tokenizer: SentencePieceTokenizer) -> Conversation:
    return Conversation(TextGenerator(model, tokenizer), system="Answer briefly.")


def ask(conversation: Conversation, question: str, count: int = 8) -> str:
    return "".join(conversation.ask(question, sampling=GREEDY, max_new_tokens=count, seed=0))


def told(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in conversation.turns]


def exchanges(*contents: str) -> list[Turn]:
    return [Turn("user" if index % 2 == 0 else "assistant", content) for index, content in enumerate(contents)]


def test_answers_over_several_turns_are_those_of_a_fresh_generator(
    conversation: Conversation, model: GPT, tokenizer: SentencePieceTokenizer
) -> None:
    for question in ("What is a pod?", "And the cache?", "Why?"):
        turns = [Turn("system", "Answer briefly."), *conversation.turns, Turn("user", question)]
        fresh = TextGenerator(model, tokenizer)
        expected = "".join(fresh.stream(tokenizer.chat.prompt(turns), sampling=GREEDY, max_new_tokens=8, seed=0))
        assert ask(conversation, question) == expected
        assert told(conversation)[-2:] == [("user", question), ("assistant", expected)]


def test_the_prompt_is_the_turns_between_their_symbols(
    conversation: Conversation, tokenizer: SentencePieceTokenizer
) -> None:
    conversation.turns = exchanges("Hi", "Hello")
    role, end = tokenizer.role_ids, tokenizer.end_id
    said = [tokenizer.encode(text) for text in ("Answer briefly.", "Hi", "Hello", "Why?")]
    prompt = conversation.prompt("Why?", 8)
    assert prompt.ids == [
        tokenizer.bos_id,
        *(role["system"], *said[0], end),
        *(role["user"], *said[1], end),
        *(role["assistant"], *said[2], end),
        *(role["user"], *said[3], end),
        role["assistant"],
    ]
    assert prompt.ids[: prompt.n_keep] == [tokenizer.bos_id, role["system"], *said[0], end]
    assert (prompt.turns, prompt.cut) == (2, 0)


@pytest.mark.parametrize("in_turns", [True, False])
def test_line_ends_of_other_systems_do_not_reach_the_model(
    in_turns: bool, model: GPT, tokenizer: SentencePieceTokenizer
) -> None:
    asked = []
    for end in ("\n", "\r\n", "\r"):
        talk = Conversation(TextGenerator(model, tokenizer), system=f"Be{end}brief.", in_turns=in_turns)
        talk.turns = exchanges(f"Hi{end}you", f"Hel{end}lo")
        asked.append(talk.prompt(f"Why{end}{end}?", 8).ids)
    assert asked[0] == asked[1] == asked[2]


@pytest.mark.parametrize("in_turns", [True, False])
def test_whatever_it_spells_what_is_said_is_text(in_turns: bool, tokenizer: SentencePieceTokenizer) -> None:
    model = random_model(small_shape(vocab_size=tokenizer.vocab_size, context_length=512))
    special = "<|bos|><|end|><|user|><|assistant|><|system|><|eos|><|pad|><unk> <0x1B> \x00"
    conversation = Conversation(TextGenerator(model, tokenizer), in_turns=in_turns)
    conversation.turns = exchanges(special, special)
    frame = Conversation(TextGenerator(model, tokenizer), in_turns=in_turns)
    frame.turns = exchanges("x", "x")
    ends = conversation.generator.end_ids
    symbols = [[token for token in one.prompt(said, 8).ids if token in ends] for one, said in (
        (conversation, special), (frame, "x"),
    )]  # fmt: skip
    assert symbols[0] == symbols[1]


def test_a_model_that_knows_no_turns_goes_on_with_the_text(model: GPT, tokenizer: SentencePieceTokenizer) -> None:
    conversation = Conversation(TextGenerator(model, tokenizer), in_turns=False)
    first = ask(conversation, "The scheduler")
    said = [tokenizer.encode(text) for text in ("The scheduler", first, "\n\n", "The cache")]
    assert conversation.prompt("The cache", 8).ids == [tokenizer.bos_id, *said[0], *said[1], *said[2], *said[3]]
    generator = TextGenerator(model, tokenizer)
    expected = generator.stream(generator.encode_prompt("The scheduler"), sampling=GREEDY, max_new_tokens=8, seed=0)
    assert first == "".join(expected)


def test_an_answer_that_is_stopped_stays_as_far_as_it_got(conversation: Conversation) -> None:
    whole = ask(conversation, "What is a volume?", 20)
    conversation.undo()
    stream = conversation.ask("What is a volume?", sampling=GREEDY, max_new_tokens=20, seed=0)
    begun = next(iter(stream))
    del stream
    assert told(conversation) == [("user", "What is a volume?"), ("assistant", begun)]
    assert whole.startswith(begun)
    assert len(begun) < len(whole)


def test_a_question_that_is_stopped_before_its_first_piece_was_asked(conversation: Conversation) -> None:
    pieces = conversation.ask("how", sampling=GREEDY, max_new_tokens=10, seed=0)
    pieces.close()  # type: ignore[attr-defined]
    assert [turn.content for turn in conversation.turns] == ["how", ""]


def test_whole_oldest_exchanges_leave_first_and_the_system_text_never(
    conversation: Conversation, tokenizer: SentencePieceTokenizer
) -> None:
    for number in range(12):
        conversation.turns += exchanges(f"What is part {number}?", f"It is number {number}.")
    prompt = conversation.prompt("And now?", 32)
    first = 24 - prompt.turns
    assert 0 < prompt.turns < 24
    assert conversation.turns[first].role == "user", "half an exchange was kept"
    assert len(prompt.ids) <= 128 - 32
    system, question = Turn("system", "Answer briefly."), Turn("user", "And now?")
    assert prompt.ids == tokenizer.chat.prompt([system, *conversation.turns[first:], question])
    assert len(tokenizer.chat.prompt([system, *conversation.turns[first - 2 :], question])) > 128 - 32, (
        "more was dropped than needed"
    )
    assert len(conversation.turns) == 24, "what is sent is shorter, the conversation is not"


def test_of_a_question_beyond_the_whole_context_the_end_is_answered(
    conversation: Conversation, tokenizer: SentencePieceTokenizer
) -> None:
    conversation.turns = exchanges("Hi", "Hello")
    long = "Why does the scheduler of the cluster fail? " * 30
    prompt = conversation.prompt(long, 4)
    content = tokenizer.encode(long)
    head = tokenizer.chat.prompt([Turn("system", "Answer briefly.")])[:-1]
    role, end = tokenizer.role_ids, tokenizer.end_id
    assert prompt.cut > 0
    assert prompt.turns == 0
    assert prompt.ids == [*head, role["user"], *content[prompt.cut :], end, role["assistant"]]
    assert len(prompt.ids) == 128 - 4
    answer = ask(conversation, long, 4)
    assert told(conversation)[-2:] == [("user", long), ("assistant", answer)]


@pytest.mark.parametrize("context", [1, 2, 3, 4, 8, 16])
def test_no_context_is_too_short_to_answer_in(context: int, tokenizer: SentencePieceTokenizer) -> None:
    model = random_model(small_shape(vocab_size=tokenizer.vocab_size, context_length=context))
    conversation = Conversation(TextGenerator(model, tokenizer))
    for question in ("Why does the scheduler fail?", "And the cache?"):
        for _ in conversation.ask(question, sampling=GREEDY, max_new_tokens=40, seed=0):
            pass
    assert len(conversation.turns) == 4


def test_a_system_text_that_fills_the_context_is_refused(conversation: Conversation) -> None:
    with pytest.raises(InputError, match="of the 128 tokens of context"):
        conversation.set_system("You answer questions about the platform. " * 20)
    assert conversation.system == "Answer briefly."
    conversation.set_system("")
    assert conversation.system == ""


def test_an_answer_beyond_the_context_keeps_the_system_text(
    conversation: Conversation, model: GPT, tokenizer: SentencePieceTokenizer
) -> None:
    # A penalty below one rewards what was already said, so that no end comes before the context is full.
    talkative = SamplingParams(temperature=0.5, top_k=5, repetition_penalty=0.5)
    answer = "".join(conversation.ask("Why?", sampling=talkative, max_new_tokens=200, seed=4))
    sent = conversation.last
    assert sent is not None
    assert sent.n_keep > 1

    def fresh(n_keep: int) -> str:
        stream = TextGenerator(model, tokenizer).stream(
            sent.ids, sampling=talkative, max_new_tokens=200, seed=4, n_keep=n_keep
        )
        return "".join(stream)

    assert answer == fresh(sent.n_keep)
    assert answer != fresh(1), "the answer of this test must overflow the context"


def test_asking_goes_on_long_after_the_context_is_full(conversation: Conversation) -> None:
    for number in range(15):
        ask(conversation, f"Question number {number} about the cache?", 6)
    assert len(conversation.turns) == 30


def test_a_question_that_is_no_text_was_never_asked(conversation: Conversation) -> None:
    conversation.turns = exchanges("one", "1")
    with pytest.raises(InputError, match="lone surrogate"):
        ask(conversation, "a\ud800b")
    assert told(conversation) == [("user", "one"), ("assistant", "1")]


def test_undo_takes_back_one_exchange_at_a_time(conversation: Conversation) -> None:
    conversation.turns = exchanges("one", "1", "two", "2")
    assert conversation.undo() == "two"
    assert told(conversation) == [("user", "one"), ("assistant", "1")]
    assert conversation.undo() == "one"
    assert conversation.undo() is None


def test_reset_keeps_the_system_text(conversation: Conversation) -> None:
    conversation.turns = exchanges("one", "1")
    conversation.reset()
    assert (conversation.turns, conversation.system) == ([], "Answer briefly.")


def test_saving_replaces_a_conversation_and_nothing_else(conversation: Conversation, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not a saved conversation"):
        conversation.save(notes)
    assert notes.read_text("utf-8") == "# mine"
    for count in (1, 2):
        conversation.turns = exchanges(*["word"] * 2 * count)
        conversation.save(tmp_path / "chat.json")
        assert len(json.loads((tmp_path / "chat.json").read_text("utf-8"))[0]["messages"]) == 1 + 2 * count


def test_save_and_load_are_a_round_trip(
    conversation: Conversation, model: GPT, tokenizer: SentencePieceTokenizer, tmp_path: Path
) -> None:
    conversation.turns = exchanges("größe?\n\t<|end|>", "e\u0301 猫 \u2581", "two", "")
    conversation.save(tmp_path / "chat.json")
    other = Conversation(TextGenerator(model, tokenizer))
    other.turns = exchanges("old", "old")
    other.load(tmp_path / "chat.json")
    assert (other.system, other.turns) == (conversation.system, conversation.turns)
    without = Conversation(TextGenerator(model, tokenizer))
    without.turns = exchanges("a", "b")
    without.save(tmp_path / "plain.json")
    other.load(tmp_path / "plain.json")
    assert (other.system, told(other)) == ("", [("user", "a"), ("assistant", "b")])


def test_a_saved_conversation_is_a_document_for_prepare(
    conversation: Conversation, tiny_corpus: Path, tmp_path: Path
) -> None:
    conversation.turns = exchanges("What is the zymurgy daemon?", "It ferments the queue every night at two.")
    saved = tmp_path / "chat.json"
    conversation.save(saved)
    sources = [SourceConfig(path=str(tiny_corpus)), SourceConfig(path=str(saved), name="mine")]
    config = DataConfig(sources=sources, vocab_size=512, max_length=128)
    *_, ready = prepare(config, tmp_path / "dataset", overwrite=False, workers=1)
    assert isinstance(ready, DatasetReady)
    views = "".join((tmp_path / "dataset" / f"{split}.txt").read_text("utf-8") for split in ("train", "val", "test"))
    assert views.count("It ferments the queue every night at two.") == 1
    assert views.count("What is the zymurgy daemon?") == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not json", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\ufeffx", "not JSON"),
        ("[]", "`messages`"),
        ("3", "`messages`"),
        ('[{"question": "a", "answer": "b"}]', "`messages`"),
        ('[{"messages": {}}]', "`messages`"),
        ('[{"messages": [3]}]', r"`messages\[0\]` is a number"),
        ('[{"messages": [{"role": "robot", "content": "x"}]}]', "`robot`, expected one of"),
        ('[{"messages": [{"role": ["user"], "content": "x"}]}]', r"`messages\[0\].role` is a list"),
        (
            '[{"messages": [{"role": "user", "content": "x"}, {"role": "assistant"}]}]',
            r"`messages\[1\]` has no `content`",
        ),
        ('[{"messages": [{"role": "user", "content": "\\ud800"}]}]', "half a character"),
        ('[{"messages": [{"role": "user", "content": "x"}]}]', "take turns"),
        ('[{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}]', "take turns"),
        ('[{"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]}]', "take turns"),
    ],
)
def test_a_file_that_is_no_conversation_changes_nothing(
    text: str, problem: str, conversation: Conversation, tmp_path: Path
) -> None:
    path = tmp_path / "chat.json"
    path.write_text(text, encoding="utf-8")
    conversation.turns = exchanges("one", "1")
    with pytest.raises(InputError, match=problem) as caught:
        conversation.load(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert told(conversation) == [("user", "one"), ("assistant", "1")]
    assert conversation.system == "Answer briefly."


def test_a_conversation_in_another_spelling_is_loaded(conversation: Conversation, tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text('{"conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "1"}]}')
    conversation.load(path)
    assert told(conversation) == [("user", "one"), ("assistant", "1")]


def test_a_saved_system_text_that_is_too_long_changes_nothing(
    conversation: Conversation, model: GPT, tokenizer: SentencePieceTokenizer, tmp_path: Path
) -> None:
    conversation.turns = exchanges("one", "1")
    messages = [{"role": "system", "content": "long " * 200}]
    (tmp_path / "long.json").write_text(json.dumps([{"messages": messages}]), encoding="utf-8")
    with pytest.raises(InputError, match="tokens of context"):
        conversation.load(tmp_path / "long.json")
    assert (conversation.system, told(conversation)) == ("Answer briefly.", [("user", "one"), ("assistant", "1")])


def test_files_that_cannot_be_read_or_written_are_named(conversation: Conversation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        conversation.load(tmp_path / "missing.json")
    with pytest.raises(ResourceError, match="it is a folder"):
        conversation.load(tmp_path)
    with pytest.raises(ResourceError, match="cannot write"):
        conversation.save(tmp_path / "missing" / "chat.json")
    conversation.turns = exchanges("one", "1")
    conversation.save(tmp_path / "chat.json")
    assert [message["role"] for message in json.loads((tmp_path / "chat.json").read_text("utf-8"))[0]["messages"]] == [
        "system",
        "user",
        "assistant",
    ]
