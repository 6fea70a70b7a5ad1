"""The readable view can be read back exactly, whatever the documents hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.document import Role, Turn
from nima_cli.engine.data.store.text_view import Entry, parse_entries, render_entry
from nima_cli.errors import DataError

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_LINES = st.sampled_from(
    [
        "<|document|> qa x",
        "<|user|>",
        "\\<|user|>",
        "\\\\<|assistant|> hi",
        "<|system|>",
        " <|user|>",
        "",
        "\\",
        "plain",
        "\r",
    ]
)
CONTENT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.lists(_LINES, max_size=6).map("\n".join)
SOURCE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10) | st.sampled_from(['a "b"', "a\nb"])
PROSE = st.builds(Entry, kind=st.sampled_from(["text", "markdown"]), source=SOURCE, text=CONTENT)
TALK = st.builds(
    Entry,
    kind=st.sampled_from(["qa", "chat"]),
    source=SOURCE,
    turns=st.lists(st.builds(Turn, st.sampled_from(ROLES), CONTENT), min_size=1, max_size=4).map(tuple),
)


@given(entries=st.lists(PROSE | TALK, max_size=5))
def test_reading_a_view_gives_exactly_the_documents(entries: list[Entry]) -> None:
    text = "".join(map(render_entry, entries))
    assert list(parse_entries(text, where="train.txt")) == entries


def test_a_view_is_readable_and_escapes_only_what_looks_like_a_mark() -> None:
    entry = Entry("qa", "k8s", turns=(Turn("user", "why?\n<|user|> is a mark"), Turn("assistant", "so\nit is")))
    assert render_entry(entry) == (
        "<|document|> qa k8s\n<|user|>\nwhy?\n\\<|user|> is a mark\n<|assistant|>\nso\nit is\n\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "train.txt:1: expected `<|document|>`"),
        ("<|document|> poem x\nhello\n\n", "train.txt:1: expected `<|document|> kind source`"),
        ("<|document|> text x\nok\n\n<|document|> qa x\nno role\n\n", "train.txt:4: a conversation must open"),
        ('<|document|> text "\nhello\n\n', "train.txt:1: the source name"),
    ],
)
def test_what_no_view_holds_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        list(parse_entries(text, where="train.txt"))
    assert caught.value.message.startswith(message)
