"""Simple predictors on a prepared dataset."""

import lzma
import sys
from pathlib import Path

import numpy as np
import pytest

from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.evaluation import baselines as module
from nima_cli.engine.evaluation.baselines import Baseline, measure_baselines, xz_bytes, zstd_with_dictionary
from nima_cli.engine.evaluation.groups import find_groups
from tests.engine.evaluation.test_groups import result_of


def measured(dataset: PreparedDataset, split: str = "test") -> dict[str, Baseline]:
    arrays, names = dataset.arrays(split), tuple(source["name"] for source in dataset.metadata["sources"])
    groups = result_of(find_groups(arrays, dataset.tokenizer, names, kinds=True))
    found = result_of(measure_baselines(dataset.arrays("train"), arrays, groups, dataset.tokenizer))
    return {one.name: one for one in found}


def test_all_are_measured_on_the_text_that_the_model_is(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset)
    found = measured(dataset)
    assert list(found) == ["unigram", "5-gram", "xz", "zstd"]
    arrays, tokenizer = dataset.arrays("test"), dataset.tokenizer
    targets = arrays.tokens[arrays.tokens != tokenizer.bos_id].tolist()
    text = b"".join(map(tokenizer.token_bytes, targets))
    assert len(text) == dataset.metadata["splits"]["test"]["target_bytes"]
    assert found["xz"].bits_per_byte == pytest.approx(8 * xz_bytes(text) / len(text))
    seen = dataset.arrays("train").tokens
    counts = np.bincount(seen[seen != tokenizer.bos_id], minlength=tokenizer.vocab_size) + 0.0
    kinds = (counts > 0).sum()
    nats = -np.log((counts + kinds / len(counts)) / (counts.sum() + kinds))[targets].sum()
    assert found["unigram"].bits_per_byte == pytest.approx(nats / np.log(2) / len(text))
    ngram, unigram = found["5-gram"].bits_per_byte, found["unigram"].bits_per_byte
    assert ngram is not None
    assert unigram is not None
    assert ngram < unigram / 2
    assert found["5-gram"].by["source"] == {"tiny": pytest.approx(ngram)} or len(found["5-gram"].by["source"]) == 1
    assert {"prose", "question answering"} <= set(found["5-gram"].by["kind"])
    assert set(found["xz"].by) == {"source"}


def test_a_long_train_split_is_counted_in_part_and_said(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(tiny_dataset)
    whole = measured(dataset)["5-gram"]
    monkeypatch.setattr(module, "MAX_TRAIN_TOKENS", len(dataset.arrays("train").tokens) // 3)
    part = measured(dataset)["5-gram"]
    assert " of " in part.note
    assert " of " not in whole.note
    assert part.bits_per_byte is not None
    assert whole.bits_per_byte is not None
    assert part.bits_per_byte > whole.bits_per_byte


def test_xz_is_what_xz_needs_without_its_container() -> None:
    text = "".join(f"line {number * 7919 % 1000}\n" for number in range(3000)).encode()
    assert 0 < len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) - xz_bytes(text) < 100


def test_zstd_learns_a_dictionary_from_other_text() -> None:
    pytest.importorskip("zstandard" if sys.version_info < (3, 14) else "compression.zstd")
    texts = [f"apiVersion: v1\nkind: Pod number {n}\nmetadata: name-{n * 31}\n".encode() * 3 for n in range(900)]
    learned = zstd_with_dictionary(texts)
    assert callable(learned)
    text = b"apiVersion: v1\nkind: Pod number 1234\nmetadata: name-77\n"
    assert learned(text) < min(len(text) / 2, xz_bytes(text) / 2)
    assert zstd_with_dictionary([b"too little"]) == "too little training text for a dictionary"


def test_zstd_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    said = zstd_with_dictionary([b"text"] * 100)
    assert isinstance(said, str)
    assert "pip install zstandard" in said
