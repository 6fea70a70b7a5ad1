"""The split: clusters whole, ratios near, any order of documents; a document that is a corpus is cut into parts."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.document import Document, Kind
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.split import contiguous_parts, split
from nima_cli.errors import DataError
from nima_cli.events import Note
from tests.conftest import RunCli


def keys(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 2**63, size=(count, 2), dtype=np.uint64)


def test_clusters_stay_on_one_side_and_ratios_hold() -> None:
    clusters = np.repeat(np.arange(250) * 4, 4)
    parts = split(keys(1000), clusters, np.arange(1000), DataConfig(train_ratio=0.7, val_ratio=0.2))
    sides = [set(clusters[numbers].tolist()) for numbers in parts.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 250
    assert [len(numbers) for numbers in parts.values()] == [700, 200, 100]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(1000))


def test_a_large_cluster_takes_one_side_only() -> None:
    clusters = np.array([0] * 90 + list(range(90, 100)))
    parts = split(keys(100), clusters, np.arange(100), DataConfig())
    assert sorted(len(numbers) >= 90 for numbers in parts.values()) == [False, False, True]
    assert all(len(numbers) for numbers in parts.values())


def test_the_order_of_documents_changes_nothing() -> None:
    own, clusters = keys(300), np.repeat(np.arange(100) * 3, 3)
    before = split(own, clusters, np.arange(300), DataConfig())
    mixed = np.random.default_rng(1).permutation(300)
    renamed = clusters[mixed] + 1000
    after = split(own[mixed], renamed, np.arange(300), DataConfig())
    assert {name: set(map(tuple, own[n].tolist())) for name, n in before.items()} == {
        name: set(map(tuple, own[mixed][n].tolist())) for name, n in after.items()
    }


def test_one_cluster_cannot_be_split() -> None:
    with pytest.raises(DataError, match="nearly the same") as caught:
        split(keys(9), np.array([0] * 8 + [8]), np.arange(9), DataConfig())
    assert "`dedupe=exact`" in str(caught.value.hint)


SPLITS = ("train", "val", "test")
_RANDOM = random.Random(7)
_WORDS = ["".join(_RANDOM.choice("aeioubdfgklmnprst") for _ in range(_RANDOM.randint(2, 8))) for _ in range(600)]


def line(number: int) -> str:
    """A line that says nothing any other line says."""
    words = random.Random(number)
    return f"{number} " + " ".join(words.choice(_WORDS) for _ in range(12))


def story(lines: int, *, apart: str = "\n\n", first: int = 0) -> str:
    return apart.join(line(first + number) for number in range(lines))


def document(text: str, kind: Kind = "text") -> Document:
    return Document(kind, 0, "all.txt", text=text)


def prepared(out: Path, *paths: Path, **options: Any) -> tuple[dict[str, Any], list[str]]:
    data = DataConfig(sources=[SourceConfig(path=str(path)) for path in paths], **options)
    notes = [event.message for event in prepare(data, out, overwrite=False, workers=1) if isinstance(event, Note)]
    return json.loads((out / "dataset_metadata.json").read_text("utf-8")), notes


def test_parts_are_in_the_order_of_the_text_with_a_gap_between_and_near_the_ratios() -> None:
    text = story(2000)
    parts = [part.text for part in contiguous_parts(document(text), DataConfig(train_ratio=0.7, val_ratio=0.2))]
    places = [text.index(part) for part in parts]
    ends = [place + len(part) for place, part in zip(places, parts, strict=True)]
    assert places[0] == 0
    assert ends[-1] == len(text)
    gaps = [places[1] - ends[0], places[2] - ends[1]]
    assert all(len(text) * 0.005 < gap < len(text) * 0.03 for gap in gaps)
    assert [len(part) / len(text) for part in parts] == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
    lines = [set(part.split("\n\n")) for part in parts]
    assert set.union(*lines) < {line(number) for number in range(2000)}, "no line is cut"


def test_a_gap_is_about_a_sample_long_however_long_the_text_is() -> None:
    text = story(6000)
    parts = contiguous_parts(document(text), DataConfig(max_length=64))
    left_out = len(text) - sum(len(part.text) for part in parts)
    assert 2 * 64 * 2 < left_out < len(text) * 0.03


def test_a_heading_is_the_best_seam_and_a_fence_is_not_cut() -> None:
    block = "## Part {0}\n\n" + "{1}\n\n```sh\n{2}\n\n# no heading\n```"
    text = "\n\n".join(block.format(n, line(2 * n), line(2 * n + 1)) for n in range(400))
    parts = contiguous_parts(document(text, "markdown"), DataConfig())
    for part in parts:
        assert part.text.startswith("## Part ")
        assert part.text.count("```") % 2 == 0


def test_text_without_line_ends_is_cut_between_words() -> None:
    text = story(2000, apart=" ")
    parts = contiguous_parts(document(text), DataConfig())
    assert all(f" {part.text.split()[0]} " in f" {text} " for part in parts)
    assert all(part.text.split()[-1] in _WORDS for part in parts)
    assert [len(part.text) / len(text) for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    unbroken = contiguous_parts(document("x" * 100_000), DataConfig())
    assert all(part.text for part in unbroken)


def test_the_place_of_a_part_names_its_first_line() -> None:
    text = story(2000)
    for part in contiguous_parts(document(text), DataConfig())[1:]:
        number = int(part.where.rpartition("line ")[2].split()[0])
        assert text.split("\n")[number - 1] == part.text.split("\n")[0]


def test_one_file_is_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text(story(600), "utf-8")
    metadata, notes = prepared(tmp_path / "out", tmp_path / "input.txt")
    assert [metadata["splits"][split]["documents"] for split in SPLITS] == [1, 1, 1]
    assert metadata["leaks"]["val"]["runs"] == metadata["leaks"]["test"]["runs"] == 0
    (cut,) = metadata["contiguous"]
    characters = [cut["characters"][split] for split in SPLITS]
    assert sum(characters) + cut["left_out"] == len(story(600))
    assert [metadata["splits"][split]["characters"] for split in SPLITS] == characters
    assert any("input.txt holds 100% of the text: cut into contiguous parts" in note for note in notes)
    again, _ = prepared(tmp_path / "again", tmp_path / "input.txt")
    assert again["files"] == metadata["files"]


def test_a_large_file_among_small_ones_is_cut_and_the_small_ones_are_divided(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "large.txt").write_text(story(3000), "utf-8")
    for number in range(10):
        (folder / f"small{number}.txt").write_text(story(6, first=5000 + 100 * number), "utf-8")
    metadata, _ = prepared(tmp_path / "out", folder)
    assert [metadata["splits"][split]["documents"] for split in SPLITS] == [9, 2, 2]
    sizes = [metadata["splits"][split]["characters"] for split in SPLITS]
    assert sizes[0] / sum(sizes) == pytest.approx(0.8, abs=0.03)


def test_documents_of_usual_size_stay_whole(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(story(150, first=1000 * number), "utf-8")
    metadata, _ = prepared(tmp_path / "out", *(tmp_path / f"{number}.txt" for number in range(4)))
    assert metadata["contiguous"] == []
    assert [metadata["splits"][split]["documents"] for split in SPLITS] == [2, 1, 1]


def test_two_editions_of_one_text_are_not_cut_apart(tmp_path: Path) -> None:
    for name, first in (("old.txt", 0), ("new.txt", 120)):
        (tmp_path / name).write_text(story(600, first=first), "utf-8")
    with pytest.raises(DataError, match="2 usable documents"):
        prepared(tmp_path / "out", tmp_path / "old.txt", tmp_path / "new.txt")


def test_records_are_never_cut(tmp_path: Path) -> None:
    record = {"question": "What comes next?", "answer": story(600)}
    (tmp_path / "qa.json").write_text(json.dumps([record]), "utf-8")
    with pytest.raises(DataError, match="1 usable document"):
        prepared(tmp_path / "out", tmp_path / "qa.json")


def test_one_file_is_prepared_from_the_command_line(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text(story(400), "utf-8")
    ran = run_cli("data", "prepare", "--text-files", "input.txt", "--output-dir", "out", cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    assert "characters between them are left out" in ran.stderr
    views = [(tmp_path / "out" / f"{split}.txt").read_text("utf-8").split("\n\n") for split in SPLITS]
    train, val, test = ({paragraph for paragraph in view if paragraph[:1].isdigit()} for view in views)
    assert train
    assert val
    assert test
    assert not train & val
    assert not train & test
    assert not val & test
    shown = run_cli("data", "inspect", "out", "--samples", "0", cwd=tmp_path)
    assert "cut into parts" in shown.stdout
    assert "input.txt: characters for train " in " ".join(shown.stdout.split())
