"""Near duplicates: what sketches propose holds every pair that is really alike, and only exact similarity decides."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from nima_cli.engine.data.dedup import minhash_store
from nima_cli.engine.data.dedup.minhash_store import SketchFiles
from nima_cli.engine.data.dedup.near_duplicates import ALIKE, SAME, candidates, jaccard, judge, shingles, sketch
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


def test_candidates_hold_every_pair_that_is_alike_but_few_others() -> None:
    documents = families(40, 6)
    found = candidates(sketch(documents), np.arange(len(documents)))
    runs = [shingles(document) for document in documents]
    alike = {
        pair
        for pair in itertools.combinations(range(len(documents)), 2)
        if jaccard(runs[pair[0]], runs[pair[1]]) >= 0.7
    }
    proposed = {(int(one), int(other)) for one, other in found}
    similarity = np.array([jaccard(runs[one], runs[other]) for one, other in found])
    clusters = judge(len(documents), found, similarity).clusters
    assert len(alike) > 200
    assert all(clusters[one] == clusters[other] for one, other in alike)
    assert all(one // 6 == other // 6 for one, other in proposed)


@pytest.mark.parametrize("held", [1, 50, 10_000])
def test_candidates_are_the_same_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(minhash_store, "_HELD", held)
    documents = families(10, 6)
    files = SketchFiles(tmp_path / "sketches")
    for start in range(0, len(documents), 7):
        files.append(sketch(documents[start : start + 7]))
    numbers = np.delete(np.arange(len(documents)), [3, 20])
    found = candidates(files, numbers)
    assert len(found) > 50
    assert found.tolist() == candidates(sketch(documents), numbers).tolist()


def test_no_sketches_are_no_candidates(tmp_path: Path) -> None:
    assert len(candidates(SketchFiles(tmp_path / "sketches"), np.arange(0))) == 0


def test_a_folder_that_cannot_be_made_is_the_environments_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        SketchFiles(tmp_path / "file" / "sketches")


def test_only_exact_similarity_decides() -> None:
    pairs = np.array([[0, 1], [1, 2], [3, 4], [5, 6]])
    found = judge(8, pairs, np.array([SAME, SAME, ALIKE, ALIKE - 0.01]))
    # 2 repeats 1, but 1 itself is gone, and nobody has shown that 2 repeats 0.
    assert found.removed == ((1, 0),)
    assert found.clusters.tolist() == [0, 0, 0, 3, 3, 5, 6, 7]


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
    made = sketch([document])
    assert shingles(document).tolist()[:2] == FIXED_SHINGLES
    assert made.bands[0, :3].tolist() == FIXED_BANDS
