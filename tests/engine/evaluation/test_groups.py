"""Figures by source and kind: every token in one group, and groups that add up exactly."""

from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.evaluation.groups import DIMENSIONS, Groups, MetricSums, find_groups
from nima_cli.engine.evaluation.run import score
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.evaluator import evaluate
from nima_cli.errors import DivergedError
from nima_cli.events import Progress
from tests.engine.small_models import random_model, small_shape

Result = TypeVar("Result")


def result_of(steps: Generator[Progress, None, Result]) -> Result:
    """What a generator returns at its end."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            found: Result = ended.value
            return found


@pytest.fixture(scope="module")
def dataset(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """The tiny corpus as three sources, of which two have one name."""
    folder = tmp_path_factory.mktemp("groups") / "data"
    sources = [
        SourceConfig(path=str(tiny_corpus / "*.md"), name="articles"),
        SourceConfig(path=str(tiny_corpus / "*.json"), name="records"),
        SourceConfig(path=str(tiny_corpus / "*.txt"), name="articles", weight=2.0),
    ]
    list(prepare(DataConfig(sources=sources, vocab_size=512, max_length=64), folder, overwrite=False, workers=1))
    return open_dataset(folder)


@pytest.fixture(scope="module")
def groups(dataset: PreparedDataset) -> Groups:
    names = tuple(source["name"] for source in dataset.metadata["sources"])
    return result_of(find_groups(dataset.arrays("train"), dataset.tokenizer, names, kinds=True))


def model(dataset: PreparedDataset) -> GPT:
    return random_model(small_shape(vocab_size=dataset.tokenizer.vocab_size))


def sums_of(dataset: PreparedDataset, groups: Groups, batch_tokens: int) -> MetricSums:
    lengths = dataset.tokenizer.byte_lengths()
    return result_of(score(model(dataset), dataset.split("train"), groups, lengths, 24, batch_tokens=batch_tokens))


def test_each_token_is_of_the_source_and_the_kind_of_its_text(dataset: PreparedDataset, groups: Groups) -> None:
    arrays, tokenizer = dataset.arrays("train"), dataset.tokenizer
    assert sorted(groups.names["source"]) == ["articles", "records"]
    text: dict[tuple[str, str], bytes] = {}
    for token, code in zip(arrays.tokens.tolist(), groups.codes_P.tolist(), strict=True):
        places = divmod(code, len(groups.names["kind"]))
        source, kind = (groups.names[one][place] for one, place in zip(DIMENSIONS, places, strict=True))
        text[source, kind] = text.get((source, kind), b"") + tokenizer.token_bytes(token)
    assert {kind for source, kind in text if source == "records"} == {"prose", "question answering", "conversation"}
    assert {kind for source, kind in text if source == "articles"} == {"prose", "yaml", "command lines"}
    assert text["articles", "yaml"].count(b"```yaml\n") == text["articles", "yaml"].count(b"replicas: ") > 3
    assert b"```yaml" not in text["articles", "prose"]
    assert text["articles", "command lines"].startswith(b"```bash\n$ ")
    assert b"Tell me about" in text["records", "conversation"]


@pytest.mark.parametrize("batch_tokens", [1, 100, 8192])
def test_groups_add_up_to_the_total_exactly_at_any_batch_size(
    batch_tokens: int, dataset: PreparedDataset, groups: Groups
) -> None:
    sums = sums_of(dataset, groups, batch_tokens)
    total = sums.total()
    for dimension in DIMENSIONS:
        rows = sums.rows(dimension).values()
        assert len(rows) > 1
        for figure in ("loss_sum", "tokens", "n_correct", "bytes"):
            assert sum(getattr(row, figure) for row in rows) == getattr(total, figure), figure
    split = dataset.metadata["splits"]["train"]
    assert (total.tokens, total.bytes) == (split["target_tokens"], split["target_bytes"])
    known = evaluate(model(dataset), dataset.split("train"), dataset.tokenizer.byte_lengths())
    assert (total.tokens, total.n_correct, total.bytes) == (known.tokens, known.n_correct, known.bytes)
    assert total.loss_sum == pytest.approx(known.loss_sum, rel=1e-6)


def test_the_order_of_addition_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    nats, places = generator.exponential(5.0, 999).astype(np.float32), generator.integers(0, 3, 999)
    ones = np.ones(999, dtype=np.int32)
    three = Groups(places.astype(np.int32), {"source": ("a", "b", "c"), "kind": ("prose",)})
    forward, backward = MetricSums(three), MetricSums(three)
    forward.add(places, nats, ones)
    for one in range(998, -1, -1):
        backward.add(places[one : one + 1], nats[one : one + 1], ones[one : one + 1])
    assert forward.total() == backward.total()


def test_without_kinds_the_text_is_not_read(dataset: PreparedDataset) -> None:
    steps = find_groups(dataset.arrays("test"), dataset.tokenizer, ("one", "two", "one"), kinds=False)
    with pytest.raises(StopIteration) as ended:
        next(steps)
    assert ended.value.value.names == {"source": ("one", "two"), "kind": ("prose",)}


def test_a_model_that_diverged_is_named_not_added_up(dataset: PreparedDataset, groups: Groups) -> None:
    broken = model(dataset)
    with torch.no_grad():
        broken.embed_tokens.weight[7] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        result_of(score(broken, dataset.split("train"), groups, dataset.tokenizer.byte_lengths(), 24))
