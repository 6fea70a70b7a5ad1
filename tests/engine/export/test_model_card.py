"""The card agrees with the file and the dataset, and a name from outside cannot break its Markdown."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nima_cli.engine.checkpoint.file import Checkpoint, save
from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.errors import CheckpointError, InputError
from tests.engine.export.conftest import export
from tests.engine.small_models import small_checkpoint

Saved = Callable[..., tuple[Path, Checkpoint]]


@pytest.fixture
def trained(tiny_dataset: Path, tmp_path: Path) -> Path:
    """A checkpoint that learned from `tiny_dataset`."""
    dataset = open_dataset(tiny_dataset)
    checkpoint = small_checkpoint(dataset.tokenizer, context_length=64)
    checkpoint.header["dataset_sha256"] = dataset.sha256
    checkpoint.header["tokens"] = 12345
    checkpoint.header["dataset"] = dataset.facts()
    save(tmp_path / "trained.pt", checkpoint)
    return tmp_path / "trained.pt"


def test_it_lists_sources_sizes_and_figures(trained: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    export(trained, tmp_path / "m.safetensors", "safetensors", licence="cc-by-4.0")
    card = (tmp_path / "m.safetensors.md").read_text("utf-8")
    metadata = open_dataset(tiny_dataset).metadata
    for source in metadata["sources"]:
        assert f"| {source['format']} | {source['kept']:,} | {source['bytes']:,} | {source['weight']:g} |" in card
    test = metadata["splits"]["test"]
    assert f"| test | {test['documents']:,} | {test['tokens']:,} | {test['bytes']:,} |" in card
    for words in ("license: cc-by-4.0", "12,345", "1.5000 nats", "4.48", "# m\n", open_dataset(tiny_dataset).sha256):
        assert words in card


def test_a_dataset_that_is_not_named_is_not_made_up(saved: Saved, tmp_path: Path) -> None:
    export(saved()[0], tmp_path / "m.safetensors", "safetensors")
    assert "does not say what it learned from" in (tmp_path / "m.safetensors.md").read_text("utf-8")


def test_it_says_what_it_was_tuned_from(tuned: Saved, tmp_path: Path) -> None:
    path, checkpoint = tuned("qwen2")
    export(path, tmp_path / "m", "hf", licence="mit")
    card = (tmp_path / "m" / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: mit\nlibrary_name: transformers\nbase_model: Maker/tiny-1\npipeline_tag")
    assert "hf:Maker/tiny-1, tuned with nima" in card
    assert "all of its weights were trained" in card
    assert "tuned from is under `apache-2.0`" in card
    assert "| layout | Qwen2 |" in card
    assert "from scratch" not in card
    checkpoint.header |= {"pretrained": "a [model](x)\n#", "licence": None}
    save(tmp_path / "named.pt", checkpoint)
    for kind in ("gguf", "safetensors"):
        export(tmp_path / "named.pt", tmp_path / kind, kind)
        card = (tmp_path / f"{kind}.md").read_text("utf-8")
        assert r"a \[model\](x) \#, tuned with nima" in card
        assert "base_model" not in card
        assert "a licence that nima does not know" in card
        assert "SentencePiece" not in card


def test_a_model_that_was_not_trained_further_is_converted(tuned: Saved, tmp_path: Path) -> None:
    _, checkpoint = tuned("qwen2")
    checkpoint.header = {key: checkpoint.header[key] for key in ("pretrained", "layout", "licence")}
    save(tmp_path / "as_it_is.pt", checkpoint)
    export(tmp_path / "as_it_is.pt", tmp_path / "m", "hf")
    assert "hf:Maker/tiny-1 as it is, converted with nima" in (tmp_path / "m" / "README.md").read_text("utf-8")


def test_a_name_is_text_in_it(saved: Saved, tmp_path: Path) -> None:
    export(saved()[0], tmp_path / "a [b](c) <d> |e\n#f", "hf")
    card = (tmp_path / "a [b](c) <d> |e\n#f" / "README.md").read_text("utf-8")
    assert r"# a \[b\](c) \<d\> \|e \#f" in card.split("\n")


@pytest.mark.parametrize("licence", ["", "mit\nother: x", "a b", "-x", "a: b"])
def test_a_licence_is_an_identifier(licence: str, saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`license="):
        export(saved()[0], tmp_path / "m", "safetensors", licence=licence)


def test_weights_beyond_a_type_are_refused(saved: Saved, tmp_path: Path) -> None:
    _, checkpoint = saved()
    checkpoint.model["norm.weight"] = torch.full_like(checkpoint.model["norm.weight"], 1e6)
    save(tmp_path / "large.pt", checkpoint)
    with pytest.raises(CheckpointError, match=r"`norm.weight` has values beyond float16") as caught:
        export(tmp_path / "large.pt", tmp_path / "m", "safetensors", dtype="float16")
    assert caught.value.hint == "use `dtype=bfloat16`"
