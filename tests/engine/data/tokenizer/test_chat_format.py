"""The places of special symbols, and the tokens that carry loss."""

import pytest

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.protocol import Sample, render_prose
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer

TOKENIZER = SentencePieceTokenizer.train(
    ["question and answer, user and assistant"] * 3, kind="char", vocab_size=300, exact=False
)
TURNS = (
    Turn("system", "be brief"),
    Turn("user", "a <|assistant|> b"),
    Turn("assistant", "<|end|>"),
)


def shown(rendered: Sample) -> str:
    return "".join(map(TOKENIZER.piece, rendered.ids))


def with_loss(rendered: Sample) -> str:
    return "".join(
        TOKENIZER.piece(token_id) for token_id, loss in zip(rendered.ids, rendered.mask, strict=True) if loss
    )


@pytest.mark.parametrize(("last", "end"), [(True, "<|eos|>"), (False, "")])
def test_prose_ends_with_eos_only_at_its_last_piece(last: bool, end: str) -> None:
    rendered = render_prose(TOKENIZER.encode("an answer"), TOKENIZER, last=last)
    assert shown(rendered) == f"<|bos|>an answer{end}"
    assert with_loss(rendered) == f"an answer{end}"


def test_a_conversation_is_laid_out_by_role_and_learns_what_the_assistant_says() -> None:
    rendered = TOKENIZER.chat.render(TURNS, loss="assistant")
    assert len(rendered.ids) == len(rendered.mask)
    specials = [TOKENIZER.piece(token_id) for token_id in rendered.ids if token_id < 8]
    assert specials == [
        "<|bos|>", "<|system|>", "<|end|>", "<|user|>", "<|end|>", "<|assistant|>", "<|end|>", "<|eos|>",
    ]  # fmt: skip
    learned = [token_id for token_id, loss in zip(rendered.ids, rendered.mask, strict=True) if loss]
    assert learned == [*TOKENIZER.encode("<|end|>"), TOKENIZER.end_id, TOKENIZER.eos_id]


def test_special_symbols_spelled_in_content_stay_text() -> None:
    rendered = TOKENIZER.chat.render(TURNS, loss="assistant")
    assert TOKENIZER.decode(rendered.ids) == "be brief" + "a <|assistant|> b" + "<|end|>"
    assert rendered.ids.count(TOKENIZER.role_ids["assistant"]) == 1
    assert rendered.ids.count(TOKENIZER.end_id) == 3


def test_a_prompt_is_the_beginning_of_the_rendered_conversation() -> None:
    prompt = TOKENIZER.chat.prompt(TURNS[:2])
    assert prompt[-1] == TOKENIZER.role_ids["assistant"]
    assert TOKENIZER.chat.render(TURNS, loss="assistant").ids[: len(prompt)] == prompt
