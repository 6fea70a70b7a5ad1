"""Questions and baselines on data in the ids and chat format of a pretrained model."""

import json
from pathlib import Path

import numpy as np
import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.store.dataset import PreparedDataset, open_dataset
from nima_cli.engine.evaluation.answers import Answers, ask
from nima_cli.engine.evaluation.baselines import measure_baselines
from nima_cli.engine.evaluation.continuations import continue_documents
from nima_cli.engine.evaluation.groups import find_groups
from nima_cli.engine.inference.text import TextGenerator
from tests.engine.data.hf_tokenizers import NAMES, hf_files, write_files
from tests.engine.evaluation.test_groups import result_of
from tests.engine.small_models import random_model, small_shape


def prepared(corpus: Path, folder: Path, name: str, **options: str) -> PreparedDataset:
    """A dataset in the ids of a pretrained model, or of a tokenizer of its own."""
    source = SourceConfig(path=str(corpus))
    reused = {} if name == "own" else {"tokenizer_from": str(write_files(hf_files(name), folder / "model"))}
    config = DataConfig.model_validate({"sources": [source], "max_length": 256, "dedupe": "off", **reused, **options})
    for _ in prepare(config, folder / "data", overwrite=False, workers=1):
        pass
    return open_dataset(folder / "data")


def asked(dataset: PreparedDataset, split: str, count: int) -> Answers:
    tokenizer = dataset.tokenizer
    model = random_model(small_shape(vocab_size=tokenizer.vocab_size, context_length=16))
    found: Answers = result_of(ask(TextGenerator(model, tokenizer), dataset.arrays(split), count=count))
    return found


@pytest.mark.parametrize("loss", ["all", "assistant"])
@pytest.mark.parametrize("name", ["own", *NAMES])
def test_questions_and_answers_are_those_of_the_records(
    name: str, loss: str, tiny_corpus: Path, tmp_path: Path
) -> None:
    known = {one["question"]: one["answer"] for one in json.loads((tiny_corpus / "qa.json").read_text())}
    for chat in json.loads((tiny_corpus / "chat.json").read_text()):
        said = [message["content"] for message in chat["messages"]]
        known[said[1]] = said[2]
    dataset = prepared(tiny_corpus, tmp_path, name, loss=loss)
    answers = asked(dataset, "train", 1000)  # cut to a short context, which changes no question
    assert answers.held_out == len(answers.asked) == int((dataset.arrays("train").index["kind"] > 1).sum())
    for one in answers.asked:
        question = one.question.rsplit("\n\n", 1)[-1]  # some templates put a system text before it
        expected = one.expected.removeprefix("<think>\n\n</think>\n\n").strip()
        assert known[question] == expected
    fewer = asked(dataset, "train", 3)
    assert (len(fewer.asked), fewer.held_out) == (3, answers.held_out)
    assert set(fewer.asked) <= set(answers.asked)


def test_answers_without_weight_are_not_asked_for(tmp_path: Path) -> None:
    records = []
    for number in range(9):
        said = [("user", f"Question {number} of many?"), ("assistant", f"A wrong answer, number {number}.")]
        said += [("user", f"And question {number} again?"), ("assistant", f"The right answer, number {number}.")]
        weights = [1, 0, 1, 1]
        pairs = zip(said, weights, strict=True)
        records.append({"messages": [{"role": role, "content": text, "weight": w} for (role, text), w in pairs]})
    (tmp_path / "chat.json").write_text(json.dumps(records))
    for name in ("own", "smol"):
        (tmp_path / name).mkdir()
        answers = asked(prepared(tmp_path / "chat.json", tmp_path / name, name), "train", 100)
        assert all("right answer" in one.expected for one in answers.asked)
        assert all(one.question.startswith("And question") for one in answers.asked)
        assert answers.held_out == 7


@pytest.mark.parametrize("name", NAMES)
def test_baselines_predict_the_tokens_with_loss(name: str, tiny_corpus: Path, tmp_path: Path) -> None:
    dataset = prepared(tiny_corpus, tmp_path, name)
    arrays, train, tokenizer = dataset.arrays("test"), dataset.arrays("train"), dataset.tokenizer
    groups = result_of(find_groups(arrays, tokenizer, ("tiny",), kinds=True))
    found = {one.name: one.bits_per_byte for one in result_of(measure_baselines(train, arrays, groups, tokenizer))}
    assert arrays.mask is not None
    assert train.mask is not None
    targets, seen = arrays.tokens[arrays.mask != 0][:], train.tokens[train.mask != 0]
    counts = np.bincount(seen, minlength=tokenizer.vocab_size) + 0.0
    kinds = (counts > 0).sum()
    nats = -np.log((counts + kinds / len(counts)) / (counts.sum() + kinds))[targets].sum()
    size = tokenizer.byte_lengths()[targets].sum()
    assert found["unigram"] == pytest.approx(nats / np.log(2) / size)
    ngram, xz = found["5-gram"], found["xz"]
    assert ngram is not None
    assert xz is not None
    assert ngram < nats / np.log(2) / size / 2
    assert 0 < xz < 8


def test_held_out_documents_are_continued(tiny_corpus: Path, tmp_path: Path) -> None:
    dataset = prepared(tiny_corpus, tmp_path, "mistral")
    model = random_model(small_shape(vocab_size=dataset.tokenizer.vocab_size, context_length=64))
    generator = TextGenerator(model, dataset.tokenizer)
    written = result_of(continue_documents(generator, dataset.arrays("test"), dataset.arrays("train"), count=4, seed=0))
    view = (dataset.folder / "test.txt").read_text("utf-8")
    assert written.texts
    assert all(one.prompt in view for one in written.texts)
