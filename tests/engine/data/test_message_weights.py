"""A message of weight 0 is read and never learnt: from the records to the targets of training, evaluation and chat."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.store.dataset import IGNORED, PreparedDataset, open_dataset
from nima_cli.engine.data.store.dataset_files import read_dataset
from nima_cli.engine.data.store.inspection import view_samples
from nima_cli.engine.evaluation.answers import ask
from nima_cli.engine.inference.text import TextGenerator
from tests.engine.small_models import random_model, small_shape

WRONG, RIGHT = "Wrong, it is {0} cm.", "Right, it is {0} metres wide."


def talk(number: int, wrong: int = 0, right: int = 1) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"How wide is shelf {number} in room {number * 7}?"},
            {"role": "assistant", "content": WRONG.format(number), "weight": wrong},
            {"role": "user", "content": "Are you sure?"},
            {"role": "assistant", "content": RIGHT.format(number), "weight": right},
        ]
    }


def prepared(folder: Path, records: list[dict[str, Any]], **options: Any) -> PreparedDataset:
    file = folder / "talk.jsonl"
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    config = DataConfig(sources=[SourceConfig(path=str(file))], dedupe="off", **options)
    list(prepare(config, folder / "out", overwrite=True, workers=1))
    return open_dataset(folder / "out")


def learnt(dataset: PreparedDataset, split: str) -> str:
    """The text of the targets that carry loss, over all windows of a split."""
    tokens = dataset.split(split)
    batch = tokens.window_batch(range(tokens.windows(16)), 16)
    return dataset.tokenizer.decode(batch.targets_BT[batch.targets_BT != IGNORED].tolist())


@pytest.mark.parametrize("loss", ["all", "assistant"])
def test_what_has_no_weight_is_no_target(tmp_path: Path, loss: str) -> None:
    dataset = prepared(tmp_path, [talk(number) for number in range(10)], loss=loss)
    text = "".join(learnt(dataset, split) for split in ("train", "val", "test"))
    assert "Wrong" not in text
    assert all(RIGHT.format(number) in text for number in range(10))
    assert ("Are you sure?" in text) is (loss == "all")
    assert dataset.metadata["loss"] == loss
    assert dataset.metadata["zero_weight_messages"] == 10


def test_rows_to_train_on_leave_it_out_too(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, [talk(number) for number in range(10)])
    split = dataset.split("train")
    batch = split.batch(range(split.sequences_per_epoch(8)), context_length=8, seed=1)
    wrong = dataset.tokenizer.encode("Wrong")
    inputs = batch.inputs_BT.flatten().tolist()
    assert wrong[-1] in inputs
    assert not set(wrong) & set(batch.targets_BT.flatten().tolist())


@pytest.mark.parametrize("loss", ["all", "assistant"])
def test_the_counts_of_targets_are_those_of_the_mask(tmp_path: Path, loss: str) -> None:
    dataset = prepared(tmp_path, [talk(number) for number in range(10)], loss=loss)
    for name in ("train", "val", "test"):
        arrays, counts = dataset.arrays(name), dataset.metadata["splits"][name]
        assert arrays.mask is not None
        assert counts["target_tokens"] == int(arrays.mask.sum())
        carrying = np.asarray(arrays.tokens)[arrays.mask != 0]
        assert counts["target_bytes"] == int(dataset.tokenizer.byte_lengths()[carrying].sum())


def test_without_such_a_message_learning_all_needs_no_mask(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, [talk(number, wrong=1) for number in range(10)])
    assert dataset.arrays("train").mask is None
    assert not (tmp_path / "out" / "train.mask").exists()
    assert "Wrong" in learnt(dataset, "train")


def test_the_symbols_of_such_a_message_carry_no_loss_either(tmp_path: Path) -> None:
    prepared(tmp_path, [talk(number, right=0, wrong=1) for number in range(10)])
    [view] = view_samples(read_dataset(tmp_path / "out"), 1)
    without = "".join(segment["text"] for segment in view["segments"] if not segment["carries_loss"])
    assert without.startswith("<|bos|><|assistant|>Right")
    assert without.endswith("wide.<|end|><|eos|>")


def test_a_record_from_which_nothing_is_learnt_is_left_out_and_counted(tmp_path: Path) -> None:
    records = [talk(number, right=number % 2) for number in range(10)]
    dataset = prepared(tmp_path, records, loss="assistant")
    [source] = dataset.metadata["sources"]
    assert (source["kept"], source["dropped"]) == (5, {"no_loss": 5})
    every = prepared(tmp_path, records)
    assert every.metadata["sources"][0]["kept"] == 10


def test_the_answer_that_is_asked_for_is_one_to_be_learnt(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, [talk(number) for number in range(10)])
    tokenizer = dataset.tokenizer
    generator = TextGenerator(random_model(small_shape(vocab_size=tokenizer.vocab_size)), tokenizer)
    steps = ask(generator, dataset.arrays("test"), count=1)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            [answer] = ended.value.asked
            break
    assert answer.question == "Are you sure?"
    assert answer.expected.startswith("Right, it is")


def test_a_cut_never_parts_what_tools_answer_from_the_call(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "level", "arguments": '{"tank": 2}'}}
    tool = {"role": "function", "name": "level", "content": "seven litres are left in it"}
    exchange = [{"role": "user", "content": "How full is it?"}, call, tool, {"role": "assistant", "content": "Seven."}]
    records = [{"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "Yes."}, *exchange]}
               for n in range(9)]  # fmt: skip
    dataset = prepared(tmp_path, records, max_length=48, min_length=1)
    views = view_samples(read_dataset(tmp_path / "out"), 100)
    opening = {"".join(segment["text"] for segment in view["segments"])[:30] for view in views}
    assert dataset.metadata["splits"]["train"]["samples"] > dataset.metadata["splits"]["train"]["documents"]
    assert not any("tool_response" in text for text in opening)
