"""Batches: the order is a function of seed and row alone, every token is learned, weights hold, damage is noticed."""

import hashlib
import json
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.store.dataset import IGNORED, Batch, TokenDataset, open_dataset
from nima_cli.engine.data.store.dataset_files import INDEX_DTYPE, SplitArrays
from nima_cli.errors import DataError

T = 48


@pytest.fixture(scope="module")
def train(tiny_dataset: Path) -> TokenDataset:
    return open_dataset(tiny_dataset).split("train")


@pytest.fixture
def copied(tiny_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dataset, tmp_path / "copy"))


def file_tokens(folder: Path, split: str) -> list[int]:
    return [int(token) for token in np.fromfile(folder / f"{split}.bin", dtype="<u2")]


def full_rows(batch: Batch) -> torch.Tensor:
    return torch.cat([batch.inputs_BT, batch.targets_BT], dim=1)


def test_targets_are_the_next_inputs_and_bos_is_never_one(train: TokenDataset, tiny_dataset: Path) -> None:
    bos = open_dataset(tiny_dataset).tokenizer.bos_id
    batch = train.batch(range(16), context_length=T, seed=1)
    assert batch.inputs_BT.shape == batch.targets_BT.shape == (16, T)
    assert batch.inputs_BT.dtype == batch.targets_BT.dtype == torch.int64
    following, targets = batch.inputs_BT[:, 1:], batch.targets_BT[:, :-1]
    assert torch.equal(torch.where(following == bos, IGNORED, following), targets)
    assert (targets == IGNORED).any()


def test_a_row_depends_on_its_number_alone(train: TokenDataset, tiny_dataset: Path) -> None:
    rows = list(range(3 * train.sequences_per_epoch(T)))
    together = full_rows(train.batch(rows, context_length=T, seed=5))
    other = open_dataset(tiny_dataset).split("train")
    backwards = [full_rows(other.batch([row], context_length=T, seed=5)) for row in reversed(rows)]
    assert torch.equal(together, torch.cat(backwards[::-1]))


def test_every_token_is_an_input_in_every_epoch(train: TokenDataset, tiny_dataset: Path) -> None:
    wanted = Counter(file_tokens(tiny_dataset, "train"))
    per_epoch = train.sequences_per_epoch(T)
    assert per_epoch == -(-train.tokens // T)
    for epoch in (0, 7):
        rows = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        seen = Counter(train.batch(rows, context_length=T, seed=3).inputs_BT.flatten().tolist())
        assert not wanted - seen
        assert (seen - wanted).total() == per_epoch * T - train.tokens


def test_few_bytes_are_held_for_each_sample(tiny_dataset: Path) -> None:
    """Its number in the order of the epoch, its start there, and about one row; its index stays in the file."""
    samples, length, tokenizer = 200_000, 50, open_dataset(tiny_dataset).tokenizer
    index = np.zeros(samples, dtype=INDEX_DTYPE)
    index["offset"] = np.arange(samples) * length
    arrays = SplitArrays(np.full(samples * length, 7, dtype="<u2"), None, index)
    tracemalloc.start()
    try:
        split = TokenDataset(arrays, [1.0], tokenizer)
        split.batch([0], context_length=length, seed=0)
        assert tracemalloc.get_traced_memory()[0] < 20 * samples
    finally:
        tracemalloc.stop()


def test_epochs_and_seeds_differ_in_order(train: TokenDataset) -> None:
    per_epoch = train.sequences_per_epoch(T)
    first = train.batch(range(per_epoch), context_length=T, seed=3).inputs_BT
    again = train.batch(range(per_epoch), context_length=T, seed=3).inputs_BT
    second = train.batch(range(per_epoch, 2 * per_epoch), context_length=T, seed=3).inputs_BT
    reseeded = train.batch(range(per_epoch), context_length=T, seed=4).inputs_BT
    assert torch.equal(first, again)
    assert (first == second).float().mean() < 0.2
    assert (first == reseeded).float().mean() < 0.2


@pytest.mark.parametrize("context_length", [7, 48, 10_000])
def test_windows_hold_every_token_once_in_file_order(tiny_dataset: Path, context_length: int) -> None:
    prepared = open_dataset(tiny_dataset)
    val = prepared.split("val")
    tokens = file_tokens(tiny_dataset, "val")
    bos, pad = prepared.tokenizer.bos_id, prepared.tokenizer.pad_id
    batch = val.window_batch(range(val.windows(context_length)), context_length)
    targets = batch.targets_BT.flatten().tolist()
    assert [target for target in targets if target != IGNORED] == [token for token in tokens[1:] if token != bos]
    assert len(targets) - len(tokens) < context_length
    inputs = batch.inputs_BT.flatten().tolist()
    assert inputs[: len(tokens) - 1] == tokens[:-1]
    assert set(inputs[len(tokens) :]) <= {pad}


def weighted(folder: Path, out: Path, weights: tuple[float, float]) -> TokenDataset:
    for name in ("first", "second"):
        records = [{"text": f"{name} {number} says " + f"{name} words " * (number % 5 + 3)} for number in range(60)]
        (folder / f"{name}.json").write_text(json.dumps(records), encoding="utf-8")
    sources = [
        SourceConfig(path=str(folder / f"{name}.json"), weight=weight, name=name)
        for name, weight in zip(("first", "second"), weights, strict=True)
    ]
    config = DataConfig(sources=sources, min_length=1, tokenizer="char")
    for _ in prepare(config, out, overwrite=False, workers=1):
        pass
    return open_dataset(out).split("train")


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.5, 0.25), (0.5, 0.5)])
def test_a_weight_is_the_share_of_a_source_in_the_train_split_only(
    tmp_path: Path, weights: tuple[float, float]
) -> None:
    train = weighted(tmp_path, tmp_path / "out", weights)
    prepared = open_dataset(tmp_path / "out")
    index = np.load(tmp_path / "out" / "train.index.npy")
    tokens = file_tokens(tmp_path / "out", "train")
    bounds = [*index["offset"].tolist(), len(tokens)]
    own = {source: Counter[int]() for source in (0, 1)}
    for number, entry in enumerate(index):
        own[int(entry["source"])].update(tokens[bounds[number] : bounds[number + 1]])
    letters = [set(prepared.tokenizer.encode(letters)) for letters in ("ft", "cn")]  # in one source's name only
    per_epoch = train.sequences_per_epoch(32)
    epochs = 8
    expected_rows = sum(weight * own[source].total() for source, weight in enumerate(weights)) / 32
    assert per_epoch == pytest.approx(expected_rows, abs=1)
    seen = Counter(train.batch(range(epochs * per_epoch), context_length=32, seed=0).inputs_BT.flatten().tolist())
    for source, weight in enumerate(weights):
        share = sum(seen[letter] for letter in letters[source]) / sum(own[source][letter] for letter in letters[source])
        assert share / epochs == pytest.approx(weight, rel=0.1)
    assert prepared.split("val").sequences_per_epoch(32) == -(-prepared.split("val").tokens // 32)


def test_a_fraction_draws_every_sample_in_turn(tmp_path: Path) -> None:
    train = weighted(tmp_path, tmp_path / "out", (0.5, 0.5))
    per_epoch = train.sequences_per_epoch(8)
    bos = open_dataset(tmp_path / "out").tokenizer.bos_id
    seen = [
        int((train.batch(range(e * per_epoch, (e + 1) * per_epoch), context_length=8, seed=1).inputs_BT == bos).sum())
        for e in (0, 1)
    ]
    assert sum(seen) == pytest.approx(train.samples, abs=6)
    assert abs(seen[0] - seen[1]) <= 6


def test_only_what_the_assistant_says_carries_loss_when_asked(tiny_corpus: Path, tmp_path: Path) -> None:
    config = DataConfig(sources=[SourceConfig(path=str(tiny_corpus / "chat.json"))], loss="assistant", tokenizer="char")
    for _ in prepare(config, tmp_path / "out", overwrite=False, workers=1):
        pass
    prepared = open_dataset(tmp_path / "out")
    split = prepared.split("train")
    batch = split.window_batch(range(split.windows(64)), 64)
    learned = [target for target in batch.targets_BT.flatten().tolist() if target != IGNORED]
    text = prepared.tokenizer.decode(learned)
    assert "With `" in text
    assert "Tell me" not in text
    assert "You answer" not in text
    counts = prepared.metadata["splits"]["train"]
    assert counts["target_tokens"] == len(learned)
    assert counts["target_bytes"] == len(text.encode())
    assert learned.count(prepared.tokenizer.eos_id) == counts["samples"]


def test_an_opened_dataset_knows_its_files(tiny_dataset: Path) -> None:
    prepared = open_dataset(tiny_dataset)
    counts = prepared.metadata["splits"]["train"]
    split = prepared.split("train")
    assert (split.tokens, split.samples) == (counts["tokens"], counts["samples"])
    assert prepared.tokenizer.sha256 == prepared.metadata["tokenizer"]["sha256"]
    assert len(prepared.sha256) == 64
    with pytest.raises(DataError, match="no split `valid`; there are train, val, test"):
        prepared.split("valid")


def test_a_split_is_mapped_once_however_often_it_is_asked_for(tiny_dataset: Path) -> None:
    prepared = open_dataset(tiny_dataset)
    assert prepared.arrays("train") is prepared.arrays("train")
    assert np.shares_memory(prepared.split("train")._arrays.tokens, prepared.arrays("train").tokens)


@pytest.mark.parametrize("name", ["train.bin", "val.txt", "test.index.npy", "tokenizer_bpe.model"])
def test_a_missing_or_altered_file_is_named(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}: altered since"):
        open_dataset(copied)
    (copied / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: missing"):
        open_dataset(copied)


def test_metadata_of_a_newer_nima_or_none_is_refused(copied: Path) -> None:
    path = copied / "dataset_metadata.json"
    metadata = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**metadata, "format": 2, "nima_version": "9.1"}), "utf-8")
    with pytest.raises(DataError, match=r"format 2, made by nima 9\.1"):
        open_dataset(copied)
    for broken in ("", "[]", '{"format": 1}', "{" * 100_000):
        path.write_text(broken, "utf-8")
        with pytest.raises(DataError, match=r"dataset_metadata\.json: damaged"):
            open_dataset(copied)
    path.unlink()
    with pytest.raises(DataError, match="not a prepared dataset"):
        open_dataset(copied)
    with pytest.raises(DataError, match="not a prepared dataset"):
        open_dataset(copied / "missing")


def test_an_id_outside_the_vocabulary_is_noticed_even_with_a_matching_hash(copied: Path) -> None:
    tokens = np.fromfile(copied / "val.bin", dtype="<u2")
    tokens[3] = 512
    tokens.tofile(copied / "val.bin")
    path = copied / "dataset_metadata.json"
    metadata = json.loads(path.read_text("utf-8"))
    metadata["files"]["val.bin"] = hashlib.sha256((copied / "val.bin").read_bytes()).hexdigest()
    path.write_text(json.dumps(metadata), "utf-8")
    with pytest.raises(DataError, match=r"holds token 512, outside its vocabulary"):
        open_dataset(copied).split("val").window_batch([0], 32)


def test_what_another_process_checks_is_not_read_twice(tiny_dataset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    view = folder / "train.txt"
    view.write_text(view.read_text("utf-8") + "altered", "utf-8")
    with pytest.raises(DataError, match="altered since the dataset was prepared"):
        open_dataset(folder)
    assert open_dataset(folder, check=False).sha256 == open_dataset(tiny_dataset).sha256
