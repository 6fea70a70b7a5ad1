"""What an earlier, script-based version did wrong, each as a test; the numbers are those of the project's own list."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.readable_view import ViewedDocument, read_view

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.errors import DataError
from tests.engine.small_models import own_tokenizer

SPLITS = ("train", "val", "test")
FENCE = "```bash\n# A Comment In A Fence\n$ Kubectl  get PODS\n\n\tindented\n```"


def make(out: Path, sources: list[dict[str, Any]], **options: Any) -> Path:
    config = DataConfig.model_validate({"sources": sources, "dedupe": "exact", **options})
    for _ in prepare(config, out, overwrite=False, workers=1):
        pass
    return out


def views(out: Path) -> dict[str, list[ViewedDocument]]:
    return {split: list(read_view((out / f"{split}.txt").read_text("utf-8"))) for split in SPLITS}


def decoded(out: Path, split: str) -> list[str]:
    tokenizer, index = load_tokenizer(out), np.load(out / f"{split}.index.npy")
    tokens = np.fromfile(out / f"{split}.bin", dtype="<u2")
    bounds = [*index["offset"].tolist(), len(tokens)]
    return [tokenizer.decode(tokens[a:b].tolist()) for a, b in itertools.pairwise(bounds)]


def write(folder: Path, name: str, texts: list[str]) -> dict[str, Any]:
    (folder / name).write_text(json.dumps([{"text": text} for text in texts]), "utf-8")
    return {"path": str(folder / name)}


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(12):
        head = f"Words Before Any Heading {number}\n\n# Heading {number}\n\nProse {number}."
        text = f"{head}\n\n{FENCE}\n\n## Next\n\nEnd.\n"
        (folder / f"{number}.md").write_text(text)
    return folder


def test_1_the_vocabulary_has_its_size_and_pieces_of_many_characters(tiny_dataset: Path) -> None:
    tokenizer = load_tokenizer(tiny_dataset)
    pieces = [tokenizer.piece(number) for number in range(tokenizer.vocab_size)]
    text = (tiny_dataset / "train.txt").read_text("utf-8")
    assert tokenizer.vocab_size == 512
    learned = [piece.replace("\u2581", " ") for piece in pieces if len(piece) > 2 and not piece.startswith("<")]
    assert len(learned) > 50
    assert all(piece in text for piece in learned)


def test_2_3_4_case_lines_fences_preambles_and_headings_survive(pages: Path, tmp_path: Path) -> None:
    out = make(tmp_path / "out", [{"path": str(pages)}])
    texts = sorted(text for split in SPLITS for text in decoded(out, split))
    originals = sorted(path.read_text().rstrip("\n") for path in pages.iterdir())
    assert texts == originals
    assert all(FENCE in text and text.startswith("Words Before") and "\n# Heading" in text for text in texts)


def test_3_a_comment_in_a_fence_never_begins_a_piece(pages: Path, tmp_path: Path) -> None:
    out = make(tmp_path / "out", [{"path": str(pages)}], max_length=80, tokenizer="char")
    pieces = [piece for split in SPLITS for piece in decoded(out, split)]
    assert len(pieces) > 12
    whole = [piece for piece in pieces if "# A Comment In A Fence" in piece]
    assert len(whole) == 12
    assert all(FENCE in piece for piece in whole)


def test_6_weights_copy_nothing_and_change_no_other_split(pages: Path, tmp_path: Path) -> None:
    more = write(tmp_path, "more.json", [f"a record, number {n}, of the other source" for n in range(12)])
    plain = views(make(tmp_path / "a", [{"path": str(pages)}, more]))
    weighted = views(make(tmp_path / "b", [{"path": str(pages), "weight": 7.5}, more]))
    assert plain == weighted
    everything = Counter(entry.text for split in SPLITS for entry in weighted[split])
    assert len(everything) == 24
    assert set(everything.values()) == {1}


def test_5_7_fractional_weights_reach_the_dataset(pages: Path, tmp_path: Path) -> None:
    sources = [{"path": str(pages), "weight": 1.5}, {"path": "builtin:python-docs", "weight": 0.5}]
    out = make(tmp_path / "out", [sources[0], {**write(tmp_path, "m.json", ["x" * 40]), "weight": 0.5}])
    kept = json.loads((out / "dataset_metadata.json").read_text("utf-8"))["sources"]
    assert [source["weight"] for source in kept] == [1.5, 0.5]
    assert SourceConfig.model_validate(sources[1]).weight == 0.5


def test_8_the_tokenizer_learns_from_the_train_split_only(tmp_path: Path) -> None:
    words = [chr(0x4E00 + number) for number in range(60)]
    source = write(tmp_path, "x.json", [f"{word * 9} is in one document only" for word in words])
    out = make(tmp_path / "out", [source])
    tokenizer, found = load_tokenizer(out), views(out)
    pieces = "".join(tokenizer.piece(number) for number in range(tokenizer.vocab_size))
    held_out = [word for word in words if any(word in entry.text for s in ("val", "test") for entry in found[s])]
    assert len(held_out) == 12
    assert not any(word in pieces for word in held_out)


def test_9_every_drop_is_counted_by_reason(tmp_path: Path) -> None:
    texts = [f"document {n} with words of its own" for n in range(9)]
    source = write(tmp_path, "x.json", [*texts, "short", texts[0].upper(), " "])
    out = make(tmp_path / "out", [source])
    [kept] = json.loads((out / "dataset_metadata.json").read_text("utf-8"))["sources"]
    assert kept["dropped"] == {"duplicate": 1, "empty": 1, "too_short": 1}
    assert kept["documents"] == kept["kept"] + 3 == 12


def test_9_10_a_long_file_survives_whole(pages: Path, tmp_path: Path) -> None:
    long = "\n\n".join(f"Paragraph {number} of a long text." for number in range(2000))
    (pages / "long.txt").write_text(long)
    out = make(tmp_path / "out", [{"path": str(pages)}], max_length=128)
    assert any(entry.text == long for entries in views(out).values() for entry in entries)
    assert any(long in "".join(decoded(out, split)) for split in SPLITS)


QA = {"question": "What is number {}?", "answer": "It is the number {} of the list."}
CHAT = {
    "messages": [{"role": "user", "content": "Tell me {}"}, {"role": "assistant", "content": "Number {} it is, then."}]
}
DOC = {"title": "Page {}", "content": "The content of page {}, with some words."}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(("shape", "kind"), [(QA, "qa"), (CHAT, "chat"), (DOC, "markdown")])
def test_11_each_format_in_each_container_gives_its_samples(
    tmp_path: Path, suffix: str, shape: dict[str, Any], kind: str
) -> None:
    records = [json.loads(json.dumps(shape).replace("{}", str(number))) for number in range(10, 18)]
    data = json.dumps(records) if suffix == ".json" else "\n".join(map(json.dumps, records))
    (tmp_path / f"x{suffix}").write_text(data)
    out = make(tmp_path / "out", [{"path": str(tmp_path / f"x{suffix}")}])
    assert [entry.kind for split in SPLITS for entry in views(out)[split]] == [kind] * 8


def test_12_too_little_to_split_is_said_with_counts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 usable documents, and train, val and test need one each"):
        make(
            tmp_path / "out",
            [write(tmp_path, "x.json", ["one document of words, long enough", "and another one of them"])],
            min_length=10,
        )
    assert not (tmp_path / "out").exists()


def test_13_boundaries_are_symbols_that_text_never_produces(tmp_path: Path) -> None:
    texts = [f"<|bos|> number {n} <|eos|> <|end|> and words" for n in range(10)]
    out = make(tmp_path / "out", [write(tmp_path, "x.json", texts)])
    tokenizer = own_tokenizer(out)
    tokens = np.concatenate([np.fromfile(out / f"{split}.bin", dtype="<u2") for split in SPLITS])
    assert (tokens == tokenizer.bos_id).sum() == (tokens == tokenizer.eos_id).sum() == 10
    assert not (tokens == tokenizer.end_id).any()
    assert sorted(text for split in SPLITS for text in decoded(out, split)) == sorted(texts)
