"""Large files are hashed while the work goes on, and an altered one ends it."""

import shutil
import time
from pathlib import Path

import pytest

from nima_cli.engine.data.store import dataset_files
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.data.store.dataset_files import read_dataset
from nima_cli.errors import DataError
from tests.engine.training.runs import make_config, make_trainer


@pytest.fixture
def large(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of files that all count as large, with an altered train split."""
    monkeypatch.setattr(dataset_files, "_LARGE", 0)
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    data = bytearray((folder / "train.bin").read_bytes())
    data[-4:] = data[-2:] + data[-4:-2]
    (folder / "train.bin").write_bytes(data)
    return folder


def patiently(dataset: PreparedDataset) -> None:
    """Ask until a problem has been found."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        dataset.verification.require()
        time.sleep(0.01)


def test_an_altered_large_file_is_found_while_the_work_goes_on(large: Path) -> None:
    with pytest.raises(DataError, match=r"train\.bin: altered since"):
        patiently(open_dataset(large))
    with pytest.raises(DataError, match=r"train\.bin: altered since"):
        read_dataset(large)


def test_a_missing_large_file_is_found_at_once(large: Path) -> None:
    (large / "train.bin").unlink()
    with pytest.raises(DataError, match=r"train\.bin: missing"):
        open_dataset(large)


def test_a_run_on_an_altered_dataset_ends(large: Path, tmp_path: Path) -> None:
    config = make_config(max_steps=10_000, epochs=10_000.0, eval_steps=10_000, save_steps=10_000)
    with pytest.raises(DataError, match=r"train\.bin: altered since"):
        list(make_trainer(config, large, tmp_path / "run").run())


def test_nothing_is_found_where_nothing_was_altered(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_files, "_LARGE", 0)
    dataset = open_dataset(tiny_dataset)
    dataset.verification._thread.join()
    dataset.verification.require()
