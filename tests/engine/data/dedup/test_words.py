"""What counts as a word with spaces and without, and that documents are compared by it in every script."""

import json
import random
from pathlib import Path

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.dedup.near_duplicates import ALIKE, jaccard, shingles
from nima_cli.engine.data.dedup.words import words
from nima_cli.engine.data.document import Document
from nima_cli.engine.data.prepare import prepare

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
