"""Near duplicates: what signatures propose holds every pair that is really alike, and only exact similarity decides."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.dedup.near_duplicates import (
    ALIKE,
    SAME,
    MinHashStore,
    cluster_duplicates,
    jaccard,
    minhash,
    shingles,
    words,
)
from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.prepare import prepare
from nima_cli.errors import ResourceError

# From a run of this code; a change would regroup the documents of everybody.
FIXED_SHINGLES = [2001333411022872915, 7183604577622841180]
FIXED_BANDS = [2527307051, 1220927778, 1223826233]
WORDS = [f"word{number}" for number in range(2000)]
SPLITS = ("train", "val", "test")
# Letters, and the sign that ends a sentence.
SCRIPTS = {
    "chinese": ("".join(map(chr, range(0x4E00, 0x4E80))), "。"),
    "japanese": ("".join(map(chr, [*range(0x3042, 0x3093), *range(0x30A2, 0x30F3), *range(0x6C00, 0x6C40)])), "。"),
    "thai": ("".join(map(chr, [*range(0x0E01, 0x0E2F), *range(0x0E40, 0x0E45)])), " "),
    "khmer": ("".join(map(chr, range(0x1780, 0x17B3))), "។"),
    "lao": ("".join(map(chr, [0x0E81, 0x0E82, 0x0E84, *range(0x0E94, 0x0EA3)])), " "),
    "burmese": ("".join(map(chr, range(0x1000, 0x1030))), "။"),
}


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


def text_of(script: str, seed: int, *, characters: int = 800) -> list[str]:
    """The characters of a page of sentences of several lengths."""
    letters, stop = SCRIPTS[script]
    rng = random.Random(seed)
    drawn = rng.choices(letters, k=characters)
    for place in range(0, characters, 37 + seed % 5):
        drawn[place] = stop
    return drawn


def twin_of(text: list[str], script: str, seed: int, *, changes: int) -> list[str]:
    rng = random.Random(seed + 999)
    changed = list(text)
    for place in rng.sample(range(len(text)), k=changes):
        changed[place] = rng.choice(SCRIPTS[script][0])
    return changed


@pytest.mark.parametrize(
    "text", ["", "one  two\tthree\n four", "déjà vu, naïve — coöperate", "Привет, мир! 안녕 세상", "a\u00a0b"]
)
def test_words_stand_between_white_space(text: str) -> None:
    assert words(text) == text.split()


def test_where_no_spaces_stand_characters_from_each_one_on_are_words() -> None:
    assert words("打开主阀门 open 泵") == ["打开主阀", "开主阀门", "open", "泵"]
    assert words("第3章：ポンプを停止") == ["第", "3", "章", "：", "ポンプを", "ンプを停", "プを停止"]
    assert words("ปั๊ม x") == ["ปั๊ม", "x"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_pages_are_alike_in_every_script_as_far_as_they_say_the_same(script: str) -> None:
    def runs(characters: list[str]) -> Document:
        return Document("markdown", 0, "x.md", text="".join(characters))

    page, other = text_of(script, 1), text_of(script, 2)
    near = jaccard(shingles(runs(page)), shingles(runs(twin_of(page, script, 1, changes=5))))
    assert near > ALIKE
    assert jaccard(shingles(runs(page)), shingles(runs(other))) < 0.05
    half = jaccard(shingles(runs(page)), shingles(runs(page[:400] + other[400:])))
    assert 0.2 < half < 0.5


@pytest.mark.parametrize("script", ["chinese", "japanese", "thai"])
def test_twins_are_never_on_both_sides_of_a_split(tmp_path: Path, script: str) -> None:
    pages = [text_of(script, number) for number in range(30)]
    # Half of them say so nearly the same that one is left out.
    twins = [twin_of(page, script, n, changes=3 if n < 15 else 9) for n, page in enumerate(pages)]
    source = tmp_path / "pages.json"
    source.write_text(json.dumps([{"text": "A page\n\n" + "".join(page)} for page in [*pages, *twins]]), "utf-8")
    data = DataConfig(sources=[SourceConfig(path=str(source))], tokenizer="char", heading_context=False)
    list(prepare(data, tmp_path / "out", overwrite=False, workers=1))
    kept = json.loads((tmp_path / "out" / "dataset_metadata.json").read_text("utf-8"))
    assert kept["duplicates"]["near"] >= 15
    assert kept["duplicates"]["near"] + kept["duplicates"]["clusters"] == 30
    # The end of a page tells which it is; of those that stay with a twin, both are on one side.
    ends = ["".join(page)[-20:].strip() for page in pages]
    for end in ends:
        assert sum(end in (tmp_path / "out" / f"{split}.txt").read_text("utf-8") for split in SPLITS) <= 1
