"""A prepared dataset reads well in a narrow terminal: mix, duplicates and leaks are there, and nothing runs over."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nima_cli.engine.data.store.dataset_files import DatasetFiles, read_dataset
from nima_cli.engine.data.store.inspection import length_histogram, source_mix
from nima_cli.ui.dataset_view import dataset_view

LEAK = {
    "runs": 3,
    "tokens": 1234,
    "documents": 2,
    "near_duplicates": 0,
    "sources": [{"source": "qa.json", "train_source": "docs", "runs": 3}],
    "examples": [{"where": f"/very/long/{'path/' * 20}a.md", "train_where": "b[red].md", "tokens": 637, "begins": "x"}],
}


def inspected(files: DatasetFiles, **changes: Any) -> dict[str, Any]:
    return {**files.metadata, "mix": source_mix(files), "lengths": length_histogram(files), **changes}


def shown(folder: Path, width: int, **changes: Any) -> str:
    files = read_dataset(folder)
    console = Console(width=width, record=True, color_system=None, file=None, quiet=False)
    with console.capture() as capture:
        console.print(dataset_view(inspected(files, **changes), verbose=False))
    return capture.get()


@pytest.mark.parametrize("width", [80, 100])
def test_everything_is_there_and_fits(tiny_dataset: Path, width: int) -> None:
    text = shown(tiny_dataset, width, leaks={"run_tokens": 50, "val": LEAK, "test": LEAK})
    assert max(map(len, text.splitlines())) <= width
    plain = " ".join(text.split())
    assert "exact 0, near 0, 2 alike in 1 clusters kept on one side of the split" in plain
    assert "3 runs, 1,234 tokens, in 2 documents; 0 between near duplicates" in plain
    assert "3 from qa.json, in train docs" in plain
    assert "b[red].md" in plain


def test_a_dataset_of_an_earlier_version_has_no_leak_report(tiny_dataset: Path) -> None:
    assert "shared with train" not in shown(tiny_dataset, 80, leaks=None)


def test_counts_sources_and_drops(tiny_dataset: Path) -> None:
    counts = {"documents": 10, "samples": 2000, "tokens": 123456, "characters": 500000, "bytes": 500100}
    source = {"name": "k8s [/b]\x1b", "format": "markdown", "weight": 1.5, "documents": 12, "kept": 10}
    text = shown(
        tiny_dataset,
        160,
        tokenizer={"type": "bpe", "vocab_size": 8192},
        splits={"train": counts},
        sources=[{**source, "dropped": {"too short": 2, "empty": 0}}, {**source, "name": "b", "dropped": {}}],
    )
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]
    assert lines[:6] == [
        ["tokenizer bpe", "vocabulary 8,192"],
        ["split", "documents", "samples", "tokens", "characters", "bytes"],
        ["train", "10", "2,000", "123,456", "500,000", "500,100"],
        ["source", "weight", "documents", "kept", "format", "dropped"],
        ["k8s [/b]\\x1b", "1.5", "12", "10", "markdown", "2 (too short 2)"],
        ["b", "1.5", "12", "10", "markdown", "0"],
    ]


def test_the_mix_follows_the_weights(tiny_dataset: Path) -> None:
    files = read_dataset(tiny_dataset)
    (source,) = files.metadata["sources"]
    (alone,) = source_mix(files)
    assert (alone["share"], alone["epoch_share"]) == (1.0, 1.0)
    assert alone["tokens"] == files.metadata["splits"]["train"]["tokens"]
    arrays = files.arrays("train").index["source"].copy()
    sources = [{**source, "weight": 3.0}, {**source, "name": "empty", "weight": 9.0}]
    first, second = source_mix(dataclasses.replace(files, metadata={**files.metadata, "sources": sources}))
    assert arrays.max() == 0
    assert (first["epoch_share"], second["tokens"], second["epoch_share"]) == (1.0, 0, 0.0)
