"""Exact duplicates go, the first stays, and roles matter."""

from nima_cli.engine.data.dedupe import KEY_BYTES, content_key, drop_exact
from nima_cli.engine.data.document import Document, Turn


def prose(text: str, source: int = 0) -> Document:
    return Document("text", source, "x", text=text)


def talk(*turns: tuple[str, str]) -> Document:
    return Document("chat", 0, "x", turns=tuple(Turn(role, content) for role, content in turns))  # type: ignore[arg-type]


def test_the_first_of_equal_documents_stays() -> None:
    documents = [prose("A pod\n\nruns"), prose("other"), prose("a  POD runs ", 1), prose("other")]
    dropped: list[Document] = []
    assert list(drop_exact(documents, dropped.append)) == documents[:2]
    assert dropped == documents[2:]


def test_it_is_a_stream() -> None:
    documents = iter([prose("one"), prose("two")])
    kept = drop_exact(documents, lambda document: None)
    assert next(kept).text == "one"
    assert next(documents).text == "two"


def test_roles_and_boundaries_are_part_of_the_content() -> None:
    different = [
        talk(("user", "a"), ("assistant", "b")),
        talk(("system", "a"), ("assistant", "b")),
        talk(("user", "a b")),
        talk(("user", "a"), ("assistant", "b"), ("user", "")),
        prose("a b"),
        prose("ab"),
    ]
    assert len({content_key(document) for document in different}) == len(different)
    assert len(content_key(different[0])) == KEY_BYTES


def test_case_folding_is_unicodes() -> None:
    assert content_key(prose("STRASSE\u00a0x")) == content_key(prose("stra\u00dfe x"))
