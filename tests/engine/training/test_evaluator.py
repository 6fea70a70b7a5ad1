"""The figures of an evaluation against what a few plain lines compute."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.store.dataset import PreparedDataset, TokenDataset, open_dataset
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.engine.training.evaluator import Metrics, evaluate, pick_windows
from nima_cli.errors import DataError


def make_model(context_length: int = 16) -> GPT:
    shape = ModelShape(
        vocab_size=512, n_layers=1, d_model=16, n_heads=2, n_kv_heads=2, head_dim=8, d_ff=16,
        context_length=context_length, qk_norm=True, tie_embeddings=True, rope_theta=10000.0,
    )  # fmt: skip
    model = GPT(shape, dropout=0.5)
    model.init_weights(3)
    with torch.no_grad():
        model.embed_tokens.weight.mul_(30)  # far from the uniform start, so that positions differ
    return model


def byte_lengths(dataset: PreparedDataset) -> torch.Tensor:
    return torch.from_numpy(dataset.tokenizer.byte_lengths()).long()


def measured_by_hand(model: GPT, dataset: PreparedDataset, split: str) -> tuple[float, int, int]:
    """Total nats, targets and hits: one window at a time, in order, with PyTorch's own loss."""
    model.eval()
    tokens = dataset.split(split)
    context = model.shape.context_length
    nats, count, hits = 0.0, 0, 0
    for window in range(tokens.windows(context)):
        batch = tokens.window_batch([window], context)
        with torch.no_grad():
            logits_TV = model(batch.inputs_BT)[0]
        nats += F.cross_entropy(logits_TV.double(), batch.targets_BT[0], ignore_index=-100, reduction="sum").item()
        count += int((batch.targets_BT >= 0).sum())
        hits += int((logits_TV.argmax(-1) == batch.targets_BT[0]).sum())
    return nats, count, hits


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("context", [8, 16, 64])
def test_a_split_is_measured_over_every_token_once(tiny_dataset: Path, split: str, context: int) -> None:
    dataset, model = open_dataset(tiny_dataset), make_model(context)
    found = evaluate(model, dataset.split(split), byte_lengths(dataset))
    nats, count, hits = measured_by_hand(model, dataset, split)
    stated = json.loads((tiny_dataset / "dataset_metadata.json").read_text("utf-8"))["splits"][split]
    assert (found.tokens, found.n_correct) == (count, hits)
    assert (found.tokens, found.bytes) == (stated["target_tokens"], stated["target_bytes"])
    assert found.loss_sum == pytest.approx(nats, rel=1e-6)
    assert found.loss == pytest.approx(nats / count, rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(nats / count), rel=1e-5)
    assert found.accuracy == hits / count
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / stated["bytes"], rel=1e-6)


def test_perplexity_of_a_hopeless_loss_is_infinite_not_an_overflow() -> None:
    assert Metrics(loss_sum=1e6, tokens=10, n_correct=0, bytes=10).perplexity == math.inf


def test_a_limit_takes_the_same_spread_windows_each_time(tiny_dataset: Path) -> None:
    dataset, model = open_dataset(tiny_dataset), make_model()
    test = dataset.split("test")
    found = [evaluate(model, test, byte_lengths(dataset), max_tokens=160) for _ in range(2)]
    assert found[0] == found[1]
    assert 100 <= found[0].tokens <= 160
    assert pick_windows(77, 16, 160) == pick_windows(77, 16, 160) == [0, 7, 15, 23, 30, 38, 46, 53, 61, 69]
    assert pick_windows(3, 16, 160) == pick_windows(3, 16, None) == [0, 1, 2]
    assert pick_windows(77, 16, 1) == [0]


def test_evaluating_leaves_the_model_as_it_was_and_uses_no_dropout(tiny_dataset: Path) -> None:
    dataset, model = open_dataset(tiny_dataset), make_model()
    model.train()
    state = torch.random.get_rng_state()
    first = evaluate(model, dataset.split("val"), byte_lengths(dataset))
    assert model.training
    assert torch.equal(state, torch.random.get_rng_state())
    model.eval()
    assert evaluate(model, dataset.split("val"), byte_lengths(dataset)) == first
    assert not model.training


def test_progress_counts_windows_up_to_all(tiny_dataset: Path) -> None:
    dataset, model = open_dataset(tiny_dataset), make_model(8)
    told: list[tuple[int, int]] = []
    evaluate(model, dataset.split("train"), byte_lengths(dataset), progress=lambda *at: told.append(at))
    windows = dataset.split("train").windows(8)
    assert told[-1] == (windows, windows)


@pytest.fixture(scope="module")
def mostly_prose(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that teaches only answers, most of whose windows hold none."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "chat.json").write_text((tiny_corpus / "chat.json").read_text("utf-8"), encoding="utf-8")
    config = DataConfig(
        sources=[SourceConfig(path=str(folder / "chat.json"))], vocab_size=400, max_length=128, loss="assistant"
    )
    list(prepare(config, folder / "data", overwrite=False, workers=1))
    return folder / "data"


@pytest.mark.parametrize("max_tokens", [1, 8, 40, None])
def test_windows_without_loss_are_passed_over(mostly_prose: Path, max_tokens: int | None) -> None:
    """With a context this short, questions fill windows of their own; a sample may not consist of them alone."""
    dataset, model = open_dataset(mostly_prose), make_model(8)
    split = dataset.split("val")
    carrying = split.windows_with_loss(8)
    by_hand = [
        window for window in range(split.windows(8)) if bool((split.window_batch([window], 8).targets_BT != -100).any())
    ]
    assert list(carrying) == by_hand
    assert 0 < len(carrying) < split.windows(8)
    found = evaluate(model, split, byte_lengths(dataset), max_tokens=max_tokens)
    assert found.tokens > 0
    if max_tokens is None:
        nats, count, hits = measured_by_hand(model, dataset, "val")
        assert (found.tokens, found.n_correct) == (count, hits)
        assert found.loss_sum == pytest.approx(nats, rel=1e-6)


def test_a_split_without_any_loss_is_told(mostly_prose: Path, tmp_path: Path) -> None:
    dataset = open_dataset(mostly_prose)
    arrays = replace(dataset.arrays("val"), mask=np.zeros(len(dataset.arrays("val").tokens), dtype=np.uint8))
    split = TokenDataset(arrays, [1.0], dataset.tokenizer)
    with pytest.raises(DataError, match=r"^no token of the split to evaluate on carries loss$") as failure:
        evaluate(make_model(8), split, byte_lengths(dataset))
    assert "`data.loss: assistant`" in (failure.value.hint or "")
