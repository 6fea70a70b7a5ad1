"""Near duplicates: what signatures propose holds every pair that is really alike, and only exact similarity decides."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from nima_cli.engine.data.dedup.minhash_store import MinHashStore
from nima_cli.engine.data.dedup.near_duplicates import ALIKE, SAME, cluster_duplicates, jaccard, minhash, shingles
from nima_cli.engine.data.document import Document, Turn
from nima_cli.errors import ResourceError

# From a run of this code; a change would regroup the documents of everybody.
FIXED_SHINGLES = [2001333411022872915, 7183604577622841180]
FIXED_BANDS = [2527307051, 1220927778, 1223826233]
WORDS = [f"word{number}" for number in range(2000)]


def prose(words: list[str]) -> Document:
    return Document("text", 0, "x", text=" ".join(words))


def families(count: int, members: int) -> list[Document]:
    """Unrelated originals of 200 words, each with copies in which more and more words are others."""
    rng = random.Random(3)
    documents = []
    for _ in range(count):
        original = rng.choices(WORDS, k=200)
        for member in range(members):
            copy = list(original)
            for place in rng.sample(range(200), k=member):
                copy[place] = rng.choice(WORDS)
            documents.append(prose(copy))
    return documents


def stored(folder: Path, documents: list[Document]) -> MinHashStore:
    store = MinHashStore(folder / "signatures")
    for start in range(0, len(documents), 7):
        store.append(minhash(documents[start : start + 7]))
    return store


def test_candidates_hold_every_pair_that_is_alike_but_few_others(tmp_path: Path) -> None:
    documents = families(40, 6)
    found = stored(tmp_path, documents).candidates(np.arange(len(documents)))
    runs = [shingles(document) for document in documents]
    alike = {
        pair
        for pair in itertools.combinations(range(len(documents)), 2)
        if jaccard(runs[pair[0]], runs[pair[1]]) >= 0.7
    }
    proposed = {(int(one), int(other)) for one, other in found}
    similarity = np.array([jaccard(runs[one], runs[other]) for one, other in found])
    _, clusters = cluster_duplicates(len(documents), found, similarity)
    assert len(alike) > 200
    assert all(clusters[one] == clusters[other] for one, other in alike)
    assert all(one // 6 == other // 6 for one, other in proposed)


def test_candidates_are_those_of_a_plain_definition(tmp_path: Path) -> None:
    documents = families(10, 6)
    numbers = np.delete(np.arange(len(documents)), [3, 20])
    signatures = minhash(documents)
    expected = set()
    for band in signatures.bands.T:
        for later in numbers.tolist():
            earlier = [number for number in numbers.tolist() if number < later and band[number] == band[later]]
            expected |= {(number, later) for number in (earlier[0], earlier[-1])} if earlier else set()
    alike = {
        (one, other)
        for one, other in expected
        if (signatures.minima[one] == signatures.minima[other]).mean() >= (ALIKE - 0.15) * 255 / 256 + 1 / 256
    }
    assert len(alike) > 50
    found = stored(tmp_path, documents).candidates(numbers)
    assert found.tolist() == [[one, other] for one, other in sorted(alike)]


def test_a_store_begins_empty(tmp_path: Path) -> None:
    """A process that was killed may have had the same number, and so the same folder."""
    documents = families(3, 6)
    found = stored(tmp_path, documents).candidates(np.arange(len(documents))).tolist()
    assert stored(tmp_path, documents).candidates(np.arange(len(documents))).tolist() == found


def test_no_signatures_are_no_candidates(tmp_path: Path) -> None:
    assert len(stored(tmp_path, []).candidates(np.arange(0))) == 0


def test_a_folder_that_cannot_be_made_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        MinHashStore(tmp_path / "file" / "signatures")


def test_only_exact_similarity_decides() -> None:
    pairs = np.array([[0, 1], [1, 2], [3, 4], [5, 6]])
    removed, clusters = cluster_duplicates(8, pairs, np.array([SAME, SAME, ALIKE, ALIKE - 0.01]))
    # 2 repeats 1, but 1 itself is gone, and nobody has shown that 2 repeats 0.
    assert removed == {1: 0}
    assert clusters.tolist() == [0, 0, 0, 3, 3, 5, 6, 7]


def test_shingles_are_those_of_a_plain_definition() -> None:
    text = "The quick  brown fox\njumps over the LAZY dog and the quick brown fox jumps over"
    words = text.casefold().split()
    plain = {tuple(words[start : start + 5]) for start in range(len(words) - 4)}
    assert len(shingles(Document("text", 0, "x", text=text))) == len(plain)
    other = text.replace("LAZY", "tired")
    both = plain & {tuple(other.casefold().split()[start : start + 5]) for start in range(len(words) - 4)}
    expected = len(both) / (2 * len(plain) - len(both))
    found = jaccard(*(shingles(Document("text", 0, "x", text=one)) for one in (text, other)))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "one", "one two three four"])
def test_short_texts_are_alike_only_when_equal(text: str) -> None:
    own = shingles(Document("text", 0, "x", text=text))
    assert jaccard(own, own) == 1.0
    assert jaccard(own, shingles(Document("text", 0, "x", text="quite another text"))) == 0.0


def test_hashes_are_fixed_for_ever() -> None:
    document = Document(
        "chat", 0, "x", turns=(Turn("user", "how do I list the pods"), Turn("assistant", "kubectl get"))
    )
    made = minhash([document])
    assert shingles(document).tolist()[:2] == FIXED_SHINGLES
    assert made.bands[0, :3].tolist() == FIXED_BANDS
