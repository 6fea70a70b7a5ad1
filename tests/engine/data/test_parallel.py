"""Mapping over processes: order, laziness, errors and a worker that dies."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.parallel import process_mapper
from nima_cli.engine.data.store.document_store import DocumentStore, pack, read_documents, unpack
from nima_cli.errors import DataError, ResourceError


def double(number: int) -> int:
    if number == 13:
        raise DataError("thirteen", hint="take another")
    if number == 99:
        os._exit(3)
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_tasks_are_taken_as_needed(workers: int) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in itertools.count(100):
            taken.append(number)
            yield number

    with process_mapper(workers) as run:
        results = run(double, tasks())
        assert [next(results) for _ in range(20)] == [2 * number for number in range(100, 120)]
    assert len(taken) <= 20 + 3 * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_whole(workers: int) -> None:
    with process_mapper(workers) as run, pytest.raises(DataError, match="thirteen") as caught:
        list(run(double, [1, 2, 13, 4]))
    assert caught.value.hint == "take another"


def test_a_worker_that_dies_is_an_error() -> None:
    with process_mapper(2) as run, pytest.raises(ResourceError, match="worker process ended") as caught:
        list(run(double, [1, 99, 2]))
    assert "`workers=1`" in str(caught.value.hint)


def test_documents_come_back_from_the_spool_as_they_were(tmp_path: Path) -> None:
    documents = [
        Document("text", 3, "a.txt:7", text="line\n\ud800 \0 é\u2028"),
        Document("chat", 0, "b", turns=(Turn("user", "x"), Turn("assistant", "<|eos|>"))),
    ]
    spool = DocumentStore(tmp_path / "s")
    places = []
    for data in map(pack, documents):
        places.append((spool.size, len(data)))
        spool.append(data)
    spool.close()
    assert [unpack(pack(document)) for document in documents] == documents
    assert list(read_documents(tmp_path / "s", places[::-1])) == documents[::-1]
    with pytest.raises(ResourceError, match="cannot read"):
        list(read_documents(tmp_path / "none", places))
