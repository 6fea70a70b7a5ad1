"""Data for pretrained models: their ids and chat formats, and what their tokenizers cannot say, dropped by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.readable_view import read_view

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.staleness import staleness
from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.engine.data.store.inspection import view_samples
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.errors import DataError
from nima_cli.events import Dropped, Event, InputsCounted
from tests.engine.data.hf_tokenizers import NAMES, hf_files, write_files

SPLITS = ("train", "val", "test")
LOSSY = "A text with a decomposed letter, cafe\u0301, that the normaliser composes."


def config(corpus: Path, tokenizer: Path, **options: Any) -> DataConfig:
    sources = [SourceConfig(path=str(corpus))]
    return DataConfig(sources=sources, tokenizer_from=str(tokenizer), **{"max_length": 256, "dedupe": "off", **options})


def made(config: DataConfig, out: Path, workers: int = 1) -> list[Event]:
    return list(prepare(config, out, overwrite=False, workers=workers))


def plain(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", NAMES)
def test_everything_read_is_there_in_the_ids_of_the_model(name: str, tiny_corpus: Path, tmp_path: Path) -> None:
    model, out = write_files(hf_files(name), tmp_path / "model"), tmp_path / "out"
    made(config(tiny_corpus, model, heading_context=False), out)
    dataset = open_dataset(out)
    tokenizer, metadata = dataset.tokenizer, dataset.metadata
    assert isinstance(tokenizer, HFTokenizer)
    assert tokenizer.files == hf_files(name)
    assert (out / "tokenizer_hf.json").read_text("utf-8") == hf_files(name)["tokenizer.json"]
    assert metadata["tokenizer"] == {"type": "hf", "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.sha256}
    assert metadata["sources"][0]["kept"] == 68
    prose = 0
    for split in SPLITS:
        arrays, views = dataset.arrays(split), list(read_view((out / f"{split}.txt").read_text("utf-8")))
        assert metadata["splits"][split]["documents"] == len(views)
        bounds = [*arrays.index["offset"].tolist(), len(arrays.tokens)]
        for number, row in enumerate(arrays.index):
            ids = arrays.tokens[bounds[number] : bounds[number + 1]].tolist()
            view = views[int(row["document"])]
            said = view.text or " ".join(turn.content for turn in view.turns[-2:])
            if view.text:
                prose += 1
                assert ids[0] == tokenizer.bos_id
                assert ids.count(tokenizer.eos_id) == (ids[-1] == tokenizer.eos_id) + (
                    tokenizer.bos_id == tokenizer.eos_id
                )
                assert tokenizer.decode(ids) in said
            elif number + 1 == len(arrays.index) or arrays.index["document"][number + 1] != row["document"]:
                assert all(plain(turn.content) in plain(tokenizer.decode(ids)) for turn in view.turns[-2:])
    assert prose > 20
    assert staleness(config(tiny_corpus, model, heading_context=False), out) is None
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert "has changed since" in str(staleness(config(tiny_corpus, model, heading_context=False), out))


def test_the_same_bytes_from_one_process_and_two(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nima_cli.engine.data.prepare.PARALLEL_FROM_BYTES", 0)
    model, found = write_files(hf_files("qwen"), tmp_path / "model"), []
    for workers in (1, 2):
        made(config(tiny_corpus, model), tmp_path / f"out{workers}", workers)
        found.append((tmp_path / f"out{workers}" / "dataset_metadata.json").read_bytes())
    assert found[0] == found[1]


def test_each_token_but_the_first_of_a_sample_is_learnt_in_all_and_answers_alone_else(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    model = write_files(hf_files("smol"), tmp_path / "model")
    made(config(tiny_corpus, model), tmp_path / "all")
    arrays = open_dataset(tmp_path / "all").arrays("train")
    assert arrays.mask is not None
    assert np.flatnonzero(arrays.mask == 0).tolist() == arrays.index["offset"].tolist()
    made(config(tiny_corpus, model, loss="assistant"), tmp_path / "assistant")
    dataset = open_dataset(tmp_path / "assistant")
    batch = dataset.split("train").window_batch([0, 1, 2], 64)
    assert ((batch.targets_BT == -100) | (batch.targets_BT == batch.inputs_BT.roll(-1, 1)))[:, :-1].all()
    talks = [one for one in view_samples(dataset, 60) if one["kind"] in ("qa", "chat")]
    for talk in talks:
        learnt = "".join(part["text"] for part in talk["segments"] if part["carries_loss"])
        assert learnt.count("<|im_end|>") == sum("assistant\n" in part["text"] for part in talk["segments"])
        assert "assistant\n" not in learnt


def test_what_the_tokenizer_changes_is_dropped_by_name(tiny_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in tiny_corpus.iterdir():
        (corpus / path.name).write_bytes(path.read_bytes())
    (corpus / "lossy.md").write_text(LOSSY, "utf-8")
    pairs = [{"question": f"{LOSSY} {n}", "answer": "And an answer of some length."} for n in range(3)]
    (corpus / "lossy.json").write_text(json.dumps(pairs), "utf-8")
    model = write_files(hf_files("qwen"), tmp_path / "model")
    events = made(config(corpus, model), tmp_path / "out")
    dropped = [event for event in events if isinstance(event, Dropped) and event.reason == "lossy_tokenizer"]
    assert {Path(event.where.split(":")[0]).name for event in dropped} == {"lossy.md", "lossy.json"}
    assert len(dropped) == 4
    metadata = open_dataset(tmp_path / "out").metadata
    source = metadata["sources"][0]
    assert source["dropped"]["lossy_tokenizer"] == 4
    assert source["documents"] == source["kept"] + 4
    assert sum(metadata["splits"][split]["documents"] for split in SPLITS) == source["kept"] == 68
    rows = [event for event in events if isinstance(event, InputsCounted) and event.reason == "lossy_tokenizer"]
    assert [(row.outcome, row.count) for row in rows] == [("dropped", 4)]
    view = "".join((tmp_path / "out" / f"{split}.txt").read_text("utf-8") for split in SPLITS)
    assert "cafe" not in view
    # The numbers of documents after a dropped one still fit, by which contamination is found.
    leaks = metadata["leaks"]
    assert {"val", "test"} <= leaks.keys()


def test_turns_that_the_template_refuses_are_dropped_with_its_reason(tiny_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "qa.json").write_bytes((tiny_corpus / "qa.json").read_bytes())
    (corpus / "odd.json").write_text(json.dumps([{"question": "Call a tool!", "answer": "No, I can not do that."}]))
    model = write_files(hf_files("smol"), tmp_path / "model")
    refusing = "{% for m in messages if 'tool' in m.content %}{{ raise_exception('no tools') }}{% endfor %}"
    (model / "chat_template.jinja").write_text(refusing + hf_files("smol")["chat_template.jinja"], "utf-8")
    events = made(config(corpus, model, loss="assistant"), tmp_path / "out")
    assert [event.where.split("/")[-1] for event in events if isinstance(event, Dropped)] == ["odd.json:1 (record 1)"]
    assert open_dataset(tmp_path / "out").metadata["sources"][0]["dropped"] == {"chat_template": 1}


def test_a_split_of_which_nothing_is_left_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(6):
        (corpus / f"{number}.md").write_text(f"{LOSSY} {number}", "utf-8")
    model = write_files(hf_files("qwen"), tmp_path / "model")
    with pytest.raises(DataError, match="every document of the train split was dropped; the first: the hf tokenizer"):
        made(config(corpus, model), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_template_that_hides_the_answer_ends_the_preparation(tiny_corpus: Path, tmp_path: Path) -> None:
    model = write_files(hf_files("smol"), tmp_path / "model")
    (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    with pytest.raises(DataError, match=r"(qa|chat)\.json:\d+ .*does not show where the assistant's turn begins"):
        made(config(tiny_corpus, model, loss="assistant"), tmp_path / "out")


def test_special_tokens_are_shown(tiny_corpus: Path, tmp_path: Path) -> None:
    made(config(tiny_corpus, write_files(hf_files("llama3"), tmp_path / "model")), tmp_path / "out")
    shown = list(view_samples(open_dataset(tmp_path / "out"), 40))
    specials = {part["text"] for sample in shown for part in sample["segments"] if part["special"]}
    assert {"<|begin_of_text|>", "<|eot_id|><|start_header_id|>", "<|end_of_text|>", "<|end_header_id|>"} <= specials
