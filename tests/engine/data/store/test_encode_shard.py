"""The readable view can be read back exactly, whatever the documents hold."""

from typing import Any

from benchmarks.readable_view import ViewedDocument, read_view
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.document import Document, Role, Turn
from nima_cli.engine.data.store.encode_shard import view_of

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
PROSE = st.builds(ViewedDocument, kind=st.sampled_from(["text", "markdown"]), source=SOURCE, text=CONTENT)
TALK = st.builds(
    ViewedDocument,
    kind=st.sampled_from(["qa", "chat"]),
    source=SOURCE,
    turns=st.lists(st.builds(Turn, st.sampled_from(ROLES), CONTENT), min_size=1, max_size=4).map(tuple),
)


def view(document: ViewedDocument) -> str:
    kind: Any = document.kind
    return view_of(Document(kind, 0, "where", document.text, document.turns), [document.source])


@given(documents=st.lists(PROSE | TALK, max_size=5))
def test_reading_a_view_gives_exactly_the_documents(documents: list[ViewedDocument]) -> None:
    assert list(read_view("".join(map(view, documents)))) == documents


def test_a_view_is_readable_and_escapes_only_what_looks_like_a_mark() -> None:
    document = ViewedDocument(
        "qa", "k8s", turns=(Turn("user", "why?\n<|user|> is a mark"), Turn("assistant", "so\nit is"))
    )
    assert view(document) == "<|document|> qa k8s\n<|user|>\nwhy?\n\\<|user|> is a mark\n<|assistant|>\nso\nit is\n\n"
