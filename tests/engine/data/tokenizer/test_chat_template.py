"""Chat templates of pretrained models: the ids that transformers gives, and loss on what the assistant says."""

import contextlib
import json
from datetime import datetime
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import bundle
from nima_cli.engine.data.tokenizer.protocol import Sample, UnencodableError, question_frame
from nima_cli.engine.data.tokenizer.samples import CachingEncoder
from nima_cli.errors import CheckpointError, DataError
from tests.engine.data.hf_tokenizers import NAMES, hf_files, hf_tokenizer, write_files
from tests.engine.data.small_tokenizers import ANY_TEXT

SYSTEM, HI, HELLO = Turn("system", "Answer briefly."), Turn("user", "Hi, a cat?"), Turn("assistant", "Hello: 12 cats.")
WHY, BECAUSE = Turn("user", "Why?\n\n```\n  x = 1\n```"), Turn("assistant", "It's so 🙂, because:\n- a\n- b")
CONVERSATIONS = [(HI, HELLO), (HI, HELLO, WHY, BECAUSE), (SYSTEM, HI, HELLO, WHY, BECAUSE)]
FIXED_DAY = "26 Jul 2024"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = {}
    for name in NAMES:
        folder = write_files(hf_files(name), tmp_path_factory.mktemp(name) / "model")
        found[name] = transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return found


def with_template(name: str, template: str | None, **config: Any) -> HFTokenizer:
    files = hf_files(name)
    del files["chat_template.jinja"]
    if template is not None:
        files["chat_template.jinja"] = template
    files["tokenizer_config.json"] = json.dumps(json.loads(files["tokenizer_config.json"]) | config)
    return HFTokenizer.from_bytes(bundle(files), where=name)


def pieces(tokenizer: HFTokenizer, sample: Sample, *, loss: bool) -> str:
    chosen = [token for token, carries in zip(sample.ids, sample.mask, strict=True) if carries == loss]
    return b"".join(tokenizer.token_bytes(token) or tokenizer.piece(token).encode() for token in chosen).decode()


def asked(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def spoken(name: str, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """What a template that knows no system turn is given."""
    if name not in ("mistral", "metaspace") or turns[0].role != "system":
        return turns
    return (Turn("user", f"{turns[0].content}\n\n{turns[1].content}"), *turns[2:])


@pytest.mark.parametrize("turns", CONVERSATIONS, ids=len)
@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_transformers(name: str, turns: tuple[Turn, ...], theirs: dict[str, Any]) -> None:
    ours, options = hf_tokenizer(name).chat, {"return_dict": False, "tokenize": True}
    messages = asked(spoken(name, turns))
    expected = theirs[name].apply_chat_template(messages, date_string=FIXED_DAY, **options)
    assert ours.render(turns, loss="all").ids == expected
    assert ours.render(turns, loss="all", encode=CachingEncoder(hf_tokenizer(name)).encode).ids == expected
    today = datetime.now().strftime("%d %b %Y")
    expected = theirs[name].apply_chat_template(messages[:-1], add_generation_prompt=True, date_string=today, **options)
    assert ours.prompt(turns[:-1]) == expected


@pytest.mark.parametrize("name", NAMES)
def test_what_the_assistant_says_and_its_end_carry_loss_and_nothing_else(name: str) -> None:
    tokenizer = hf_tokenizer(name)
    end = {"llama3": "<|eot_id|>", "mistral": "</s>", "metaspace": "</s>"}.get(name, "<|im_end|>")
    lead = {"mistral": " ", "metaspace": " "}.get(name, "")
    last = "<think>\n\n</think>\n\n" if name == "qwen" else lead
    sample = tokenizer.chat.render((SYSTEM, HI, HELLO, WHY, BECAUSE), loss="assistant")
    assert pieces(tokenizer, sample, loss=True) == f"{lead}{HELLO.content}{end}{last}{BECAUSE.content}{end}"
    assert len(sample.ids) == len(sample.mask)


@pytest.mark.parametrize("name", NAMES)
def test_with_all_loss_only_the_first_token_has_none(name: str) -> None:
    sample = hf_tokenizer(name).chat.render((HI, HELLO), loss="all")
    assert sample.mask == [False, *[True] * (len(sample.ids) - 1)]


@pytest.mark.parametrize("name", NAMES)
def test_turns_of_no_weight_carry_no_loss(name: str) -> None:
    tokenizer = hf_tokenizer(name)
    turns = (HI, Turn("assistant", "not this", weight=0), Turn("user", "nor this", weight=0), BECAUSE)
    learnt = pieces(tokenizer, tokenizer.chat.render(turns, loss="assistant"), loss=True)
    assert "this" not in learnt
    assert BECAUSE.content in learnt
    learnt = pieces(tokenizer, tokenizer.chat.render(turns, loss="all"), loss=True)
    assert "this" not in learnt
    assert HI.content in learnt
    assert BECAUSE.content in learnt
    silent = tokenizer.chat.render((HI, Turn("assistant", "no", weight=0)), loss="assistant")
    assert not any(silent.mask)


def test_thoughts_are_learnt_where_the_template_keeps_them() -> None:
    tokenizer = hf_tokenizer("qwen")
    thinking = Turn("assistant", "<think>\nhm, 2\n</think>\n\nIt is 2.")
    sample = tokenizer.chat.render((HI, thinking, WHY, thinking), loss="assistant")
    assert pieces(tokenizer, sample, loss=True) == f"It is 2.<|im_end|>{thinking.content}<|im_end|>"


def forged(name: str, turns: tuple[Turn, ...]) -> list[int]:
    tokenizer = hf_tokenizer(name)
    ids = tokenizer.chat.render(turns, loss="assistant").ids
    return [token for token in ids if token in tokenizer.special_ids]


PARTS = st.sampled_from(
    ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "</s>", "<s>", "<|eot_id|>", "<|begin_of_text|>", "<unk>", "<",
     "|im_end|>", ">", "<|", "im_", "\n", " ", "assistant", "<|start_header_id|>", "end", "|", "a", "<think>",
     "[/INST]"]
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(said=st.lists(PARTS, min_size=1, max_size=9).map("".join), answer=st.lists(PARTS, max_size=9).map("".join))
def test_what_is_said_never_becomes_a_special_token(name: str, said: str, answer: str) -> None:
    plain = forged(name, (Turn("user", "x"), Turn("assistant", "y"), Turn("user", "x"), Turn("assistant", "y")))
    if name == "qwen":  # which takes thoughts out of an answer
        said, answer = said.replace("<think>", ""), answer.replace("<think>", "")
    turns = (Turn("user", said), Turn("assistant", answer), Turn("user", answer), Turn("assistant", said))
    assert forged(name, turns) == plain


def test_a_template_cannot_be_completed_by_what_is_said() -> None:
    template = "{% for m in messages %}{{ '<|im_' + m['content'] + '|im_end|>' }}<|im_end|>{% endfor %}"
    tokenizer = with_template("smol", template)
    ids = tokenizer.chat.render((Turn("user", "start|>"), Turn("assistant", " <  ")), loss="all").ids
    assert [tokenizer.piece(token) for token in ids if token in tokenizer.special_ids] == ["<|im_end|>"] * 2
    assert tokenizer.decode(ids) == "<|im_start|>|im_end|><|im_ <  |im_end|>"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(said=ANY_TEXT)
def test_any_text_is_rendered_or_refused(name: str, said: str) -> None:
    tokenizer = hf_tokenizer(name)
    with contextlib.suppress(UnencodableError):
        sample = tokenizer.chat.render((HI, Turn("assistant", said)), loss="assistant")
        assert said.strip() in tokenizer.decode(sample.ids)


@pytest.mark.parametrize("noncharacter", ["\ufdd0", "\ufdd01\ufdd1", "\ufdd2"])
def test_the_names_of_special_tokens_cannot_be_said(noncharacter: str) -> None:
    with pytest.raises(UnencodableError, match="noncharacter"):
        hf_tokenizer("smol").chat.prompt((Turn("user", f"a{noncharacter}b"),))


def test_turns_that_a_template_refuses_are_refused_in_its_words() -> None:
    with pytest.raises(UnencodableError, match=r"\(chat_template.jinja\) refuses these turns: Roles must alternate"):
        hf_tokenizer("mistral").chat.render((HI, HI, HELLO), loss="assistant")


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}",  # nothing ends a turn
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}{{ eos_token }}",
        "{% for m in messages %}{{ m['content'] | upper + '<|im_end|>' }}{% endfor %}",
        "{{ '<|im_end|>' }}",
    ],
)
def test_a_template_that_hides_the_answer_is_named(template: str) -> None:
    tokenizer = with_template("smol", template)
    turns = (HI, HELLO, WHY, BECAUSE)
    with pytest.raises(DataError, match=r"\(chat_template.jinja\) does not show where the assistant's turn"):
        tokenizer.chat.render(turns, loss="assistant")
    assert tokenizer.chat.render(turns, loss="all").ids


def test_without_a_template_it_is_chatml_or_plain_text() -> None:
    chatml = with_template("smol", None)
    sample = chatml.chat.render((SYSTEM, HI, HELLO), loss="assistant")
    expected = "<|im_start|>system\nAnswer briefly.<|im_end|>\n<|im_start|>user\nHi, a cat?<|im_end|>\n"
    assert pieces(chatml, sample, loss=False) == f"{expected}<|im_start|>assistant\n\n"
    assert pieces(chatml, sample, loss=True) == "Hello: 12 cats.<|im_end|>"
    plain = with_template("llama3", None)
    sample = plain.chat.render((SYSTEM, HI, HELLO), loss="assistant")
    expected = "<|begin_of_text|>Answer briefly.\n\nUser:\nHi, a cat?\n\nAssistant:\n\n\n"
    assert pieces(plain, sample, loss=False) == expected
    assert pieces(plain, sample, loss=True) == "Hello: 12 cats.<|end_of_text|>"
    assert plain.decode(plain.chat.prompt((HI,))) == "User:\nHi, a cat?\n\nAssistant:\n"


def test_a_template_in_the_configuration_is_taken_and_the_default_of_several() -> None:
    template = "{% for m in messages %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    for value in (template, [{"name": "tools", "template": "x"}, {"name": "default", "template": template}]):
        tokenizer = with_template("smol", None, chat_template=value)
        assert tokenizer.chat.name == "tokenizer_config.json"
        assert tokenizer.decode(tokenizer.chat.prompt((HI,))) == "Hi, a cat?"


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_goes_on_where_the_answer_begins(name: str) -> None:
    tokenizer = hf_tokenizer(name)
    whole = tokenizer.chat.render((HI, HELLO), loss="assistant")
    if name != "llama3":  # whose prompt tells the day
        prompt = tokenizer.chat.prompt((HI,))
        assert whole.ids[: len(prompt)] == prompt
        assert not any(whole.mask[: len(prompt)])
    before, after = question_frame(tokenizer.chat, "Be brief.")
    prompt = tokenizer.chat.prompt((Turn("system", "Be brief."), Turn("user", "What?")))
    assert (prompt[: len(before)], prompt[len(prompt) - len(after) :]) == (before, after)
    assert "Be brief." in tokenizer.decode(before)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% for message in messages %}", "Unexpected end of template"),
        ("{{ 1 +", "unexpected"),
        ("{% include 'x' %}", None),
        ("x" * 300_000, "300,000 characters"),
        ("{{ ().__class__.__base__.__subclasses__() }}", None),
        ("{{ messages.append(1) }}", None),
        ("{{ 'x' * 10**9 }}", None),
        ("{{ 9 ** 99999999 }}", None),
        ("{{ '%999999999d' % 1 }}", None),
        ("{{ range(10**9) | list }}", None),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", None),
        ("{{ messages[99].content }}", None),
        ("{{ raise_exception(messages) }}", None),
    ],
)
def test_a_hostile_template_does_no_harm(template: str, problem: str | None) -> None:
    if problem is not None:
        with pytest.raises(CheckpointError, match=rf"smol: its chat template \(chat_template.jinja\).*{problem}"):
            with_template("smol", template)
        return
    tokenizer = with_template("smol", template)
    assert tokenizer.encode("prose needs no template")
    with pytest.raises(UnencodableError, match="refuses these turns"):
        tokenizer.chat.prompt((HI,))


def test_files_are_the_same_bytes_whatever_day_it_is() -> None:
    sample = hf_tokenizer("llama3").chat.render((SYSTEM, HI, HELLO), loss="assistant")
    assert f"Today: {FIXED_DAY}" in hf_tokenizer("llama3").decode(sample.ids)
