"""Exact duplicates go, the first stays, and roles matter."""

import numpy as np
import numpy.typing as npt

from nima_cli.engine.data.corpus import KEY_BYTES, content_key
from nima_cli.engine.data.dedup.dedup import first_of_each
from nima_cli.engine.data.document import Document, Turn


def prose(text: str, source: int = 0) -> Document:
    return Document("text", source, "x", text=text)


def talk(*turns: tuple[str, str]) -> Document:
    return Document("chat", 0, "x", turns=tuple(Turn(role, content) for role, content in turns))  # type: ignore[arg-type]


def keys(*documents: Document) -> npt.NDArray[np.uint64]:
    return np.stack([np.frombuffer(content_key(document), dtype="<u8") for document in documents])


def test_the_first_of_equal_documents_stays() -> None:
    documents = [prose("A pod\n\nruns"), prose("other"), prose("a  POD runs ", 1), prose("other"), prose("third")]
    assert first_of_each(keys(*documents)).tolist() == [0, 1, 0, 1, 4]


def test_nothing_has_no_duplicates() -> None:
    assert first_of_each(np.zeros((0, 2), dtype=np.uint64)).tolist() == []


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
