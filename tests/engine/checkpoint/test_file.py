"""One file that holds a whole run: exact, self-contained, plain inside, and never half written."""

import json
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli import __version__
from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.checkpoint.archive import open_archive
from nima_cli.engine.checkpoint.file import (
    Checkpoint,
    build_model,
    load,
    load_for_inference,
    newest_valid,
    save,
    save_best,
)
from nima_cli.engine.checkpoint.files import BEST, LAST, find
from nima_cli.engine.checkpoint.pickle_reader import StoredTensor
from nima_cli.engine.data.prepare import prepare
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import CheckpointError, ResourceError
from tests.engine.small_models import random_model, small_checkpoint, small_shape


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Names, shapes, types and every bit."""
    return list(first) == list(second) and all(
        same(first[name], second[name])
        if isinstance(first[name], dict)
        else first[name].dtype == second[name].dtype and torch.equal(first[name], second[name])
        for name in first
    )


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": False}, {"qk_norm": False, "n_kv_heads": 2}], ids=str)
def test_a_round_trip_is_exact(changes: dict[str, Any], tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    checkpoint = small_checkpoint(tokenizer, **changes)
    size = save(tmp_path / "a.pt", checkpoint)
    found = load(tmp_path / "a.pt")
    assert size == (tmp_path / "a.pt").stat().st_size
    assert found.shape == checkpoint.shape
    assert same(found.model, checkpoint.model)
    assert found.optimizer is not None
    assert checkpoint.optimizer is not None
    assert same(found.optimizer, checkpoint.optimizer)
    assert found.tokenizer_proto == tokenizer.proto
    assert found.header.items() >= checkpoint.header.items()
    assert (found.header["nima_version"], found.header["torch_version"]) == (__version__, torch.__version__)


def test_sixteen_bit_weights_and_no_optimizer_are_a_checkpoint_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.model = {name: tensor.bfloat16() for name, tensor in checkpoint.model.items()}
    checkpoint.optimizer = None
    save(tmp_path / "a.pt", checkpoint)
    found = load(tmp_path / "a.pt")
    assert same(found.model, checkpoint.model)
    assert found.optimizer is None


def walk(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from walk(inner)


def test_only_plain_values_are_inside(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / "a.pt", checkpoint)
    with open_archive(tmp_path / "a.pt") as archive:
        values = archive.values
    assert {type(value) for value in walk(values)} == {dict, str, int, StoredTensor}
    assert isinstance(json.loads(values["header"]), dict)
    for tensor in (value for value in walk(values) if isinstance(value, StoredTensor)):
        assert tensor.storage.elements == math.prod(tensor.size), "a view's storage came along"


def test_a_view_does_not_drag_its_storage_into_the_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    size = save(tmp_path / "a.pt", checkpoint)
    checkpoint.model["norm.weight"] = torch.zeros(1 << 20)[:32]
    assert save(tmp_path / "b.pt", checkpoint) < size + 1000


def test_a_transposed_tensor_is_saved_like_any_other(checkpoint: Checkpoint, tmp_path: Path) -> None:
    name = "layers.0.self_attn.q_proj.weight"
    checkpoint.model[name] = checkpoint.model[name].t().contiguous().t()
    assert not checkpoint.model[name].is_contiguous()
    save(tmp_path / "a.pt", checkpoint)
    assert same(load(tmp_path / "a.pt").model, checkpoint.model)


def test_tied_weights_are_there_once(tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    tied, untied = small_checkpoint(tokenizer), small_checkpoint(tokenizer, tie_embeddings=False)
    tied.optimizer = untied.optimizer = None
    difference = save(tmp_path / "untied.pt", untied) - save(tmp_path / "tied.pt", tied)
    table = tokenizer.vocab_size * 32 * 4
    assert "lm_head.weight" not in load(tmp_path / "tied.pt").model
    assert table <= difference < table + 2000


def test_the_file_alone_is_enough(checkpoint: Checkpoint, tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    save(tmp_path / "a.pt", checkpoint)
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    moved = (tmp_path / "a.pt").rename(alone / "model.pt")
    model, found, loaded = load_for_inference(moved)
    ids_BT = torch.tensor([tokenizer.encode("The scheduler")])
    assert torch.equal(model(ids_BT), random_model(checkpoint.shape)(ids_BT))
    assert not model.training
    assert found.encode("größe `x`") == tokenizer.encode("größe `x`")
    assert loaded.header["step"] == 7


def test_a_built_model_computes_in_the_type_that_was_asked_for(
    checkpoint: Checkpoint, tokenizer: SentencePieceTokenizer
) -> None:
    ids_BT = torch.tensor([tokenizer.encode("The scheduler")])
    assert build_model(checkpoint, compute_dtype=torch.bfloat16).hidden(ids_BT).dtype is torch.bfloat16


def test_a_tokenizer_of_another_vocabulary_is_refused(tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    save(tmp_path / "a.pt", small_checkpoint(tokenizer, vocab_size=tokenizer.vocab_size + 1))
    with pytest.raises(CheckpointError, match=r"its tokenizer has 512 tokens, its model 513"):
        load_for_inference(tmp_path / "a.pt")


def test_a_corrupt_tokenizer_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.tokenizer_proto = checkpoint.tokenizer_proto[:-7]
    save(tmp_path / "a.pt", checkpoint)
    with pytest.raises(CheckpointError, match="not a tokenizer that nima can use"):
        load_for_inference(tmp_path / "a.pt")


def test_the_tokenizer_of_another_run_is_refused_even_if_it_has_the_same_size(
    checkpoint: Checkpoint, tokenizer: SentencePieceTokenizer, tiny_corpus: Path, tmp_path: Path
) -> None:
    options = {"sources": [SourceConfig(path=str(tiny_corpus / "qa.json"))], "vocab_size": tokenizer.vocab_size}
    list(prepare(DataConfig.model_validate(options), tmp_path / "data", overwrite=False, workers=1))
    other = load_tokenizer(tmp_path / "data")
    assert other.vocab_size == tokenizer.vocab_size
    checkpoint.header["tokenizer_sha256"] = tokenizer.sha256
    save(tmp_path / "a.pt", checkpoint)
    assert load(tmp_path / "a.pt").tokenizer_proto == tokenizer.proto
    checkpoint.tokenizer_proto = other.proto
    save(tmp_path / "b.pt", checkpoint)
    with pytest.raises(CheckpointError, match="its tokenizer is not the one that it was trained with"):
        load(tmp_path / "b.pt")


def test_the_best_has_a_note_for_people(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_best(tmp_path / BEST, checkpoint)
    note = json.loads((tmp_path / "checkpoint_best.json").read_text("utf-8"))
    assert note == {
        "step": 7,
        "epoch": 0.5,
        "best": checkpoint.header["best"],
        "parameters": checkpoint.shape.parameters(),
    }
    (tmp_path / "checkpoint_best.json").write_text("nonsense")
    assert load(tmp_path / BEST).header["step"] == 7


def test_find_takes_a_file_or_the_best_of_a_run(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / LAST, checkpoint)
    assert find(tmp_path) == tmp_path / LAST
    save(tmp_path / BEST, checkpoint)
    assert find(tmp_path) == tmp_path / BEST
    assert find(tmp_path / LAST) == tmp_path / LAST


def test_find_says_what_is_there_instead(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it holds nothing"):
        find(tmp_path)
    for number in range(7):
        (tmp_path / f"file{number}").touch()
    with pytest.raises(CheckpointError, match=r"it holds file0, file1, file2, file3, file4, \.\.\."):
        find(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint") as caught:
        find(tmp_path / "missing.pt")
    assert caught.value.exit_code == 3
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load(tmp_path / "missing.pt")
    with pytest.raises(ResourceError, match="look for a checkpoint"):
        find(tmp_path / ("a" * 5000))


def test_the_newest_valid_checkpoint_is_the_one_of_the_furthest_step(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / BEST, checkpoint)
    checkpoint.header["step"] = 9
    save(tmp_path / LAST, checkpoint)
    path, found, refused = newest_valid(tmp_path)
    assert (path, found.header["step"], refused) == (tmp_path / LAST, 9, [])
    checkpoint.header["step"] = 11
    save(tmp_path / BEST, checkpoint)
    assert newest_valid(tmp_path)[0] == tmp_path / BEST


def test_a_damaged_last_checkpoint_is_passed_over_and_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / BEST, checkpoint)
    checkpoint.header["step"] = 9
    save(tmp_path / LAST, checkpoint)
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:-1000])
    path, found, refused = newest_valid(tmp_path)
    assert (path, found.header["step"]) == (tmp_path / BEST, 7)
    assert len(refused) == 1
    assert refused[0].startswith(f"{tmp_path / LAST}: damaged")
    (tmp_path / BEST).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"checkpoint_last.*; .*checkpoint_best.*it is empty"):
        newest_valid(tmp_path)


def test_an_earlier_step_is_what_is_left_when_both_are_damaged(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for step in (2, 4):
        checkpoint.header["step"] = step
        save(tmp_path / f"checkpoint_step_{step}.pt", checkpoint)
    for name in (LAST, BEST):
        (tmp_path / name).write_bytes(b"")
    path, found, refused = newest_valid(tmp_path)
    assert (path.name, found.header["step"], len(refused)) == ("checkpoint_step_4.pt", 4, 2)
    assert find(tmp_path) == tmp_path / BEST
    (tmp_path / "checkpoint_step_4.pt").write_bytes(b"")
    assert newest_valid(tmp_path)[0].name == "checkpoint_step_2.pt"


def test_without_its_tensors_a_checkpoint_is_as_complete_as_with_them(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / LAST, checkpoint)
    read, found = load(tmp_path / LAST), load(tmp_path / LAST, tensors=False)
    assert (found.shape, found.header, found.tokenizer_proto) == (read.shape, read.header, read.tokenizer_proto)
    assert found.nbytes() == read.nbytes()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.model.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in read.model.items()
    }
    assert all(tensor.is_meta for tensor in found.model.values())
    checkpoint.model["norm.weight"] = torch.zeros(31)
    save(tmp_path / LAST, checkpoint)
    with pytest.raises(
        CheckpointError, match=r"does not fit its own model: `norm.weight` is \(31,\), expected \(32,\)"
    ):
        load(tmp_path / LAST, tensors=False)


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.pt")
        with pytest.raises(CheckpointError, match="it is no regular file"):
            load(tmp_path / "pipe.pt")


def test_weights_without_an_optimizer_are_nothing_to_resume_from(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.optimizer = None
    save(tmp_path / LAST, checkpoint)
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        newest_valid(tmp_path)


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from nima_cli.engine.checkpoint.file import load, save
from nima_cli.errors import ResourceError
checkpoint = load(Path(sys.argv[1]))
checkpoint.header["step"] = 8
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save(Path(sys.argv[1]), checkpoint)
        print("saved")
    except ResourceError as error:
        print(error.message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_save_that_the_disk_refuses_leaves_the_old_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / LAST
    size = save(path, checkpoint)
    old = path.read_bytes()
    limits = [0, 100, size // 3, size // 2, size - 100, size - 1]
    script = [sys.executable, "-c", FULL_DISK, str(path), *map(str, limits)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(limits)
    assert all(line.startswith(f"{path}: cannot write: the file would be larger") for line in lines), lines
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [LAST]


def test_a_folder_that_is_not_there_is_a_resource_error(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot write"):
        save(tmp_path / "missing" / "a.pt", checkpoint)


def test_what_cannot_be_read_back_never_gets_the_name(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A tensor that the reader refuses stands for a faulty writer."""
    save(tmp_path / "a.pt", checkpoint)
    old = (tmp_path / "a.pt").read_bytes()
    checkpoint.model["norm.weight"] = torch.zeros(32, dtype=torch.complex64)
    with pytest.raises(CheckpointError):
        save(tmp_path / "a.pt", checkpoint)
    assert (tmp_path / "a.pt").read_bytes() == old
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_header_that_is_no_strict_json_is_our_bug(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.header["best"] = float("inf")
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path / "a.pt", checkpoint)
    assert os.listdir(tmp_path) == []


def test_the_facts_can_be_read_without_torch(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / "a.pt", checkpoint)
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        assert b'"model_shape"' in archive.read(name)


def test_the_shape_of_small_models_is_what_these_tests_think() -> None:
    assert small_shape().parameters() == sum(p.numel() for p in random_model(small_shape()).parameters())


BYTES_READ = """
import sys
from pathlib import Path
from nima_cli.engine.checkpoint.file import newest_valid
from nima_cli.engine.checkpoint.header import step_of
def read():
    return int(Path("/proc/self/io").read_text().split()[1])
start = read()
steps = [step_of(path) for path in sorted(Path(sys.argv[1]).glob("*.pt"))]
headers = read()
newest_valid(Path(sys.argv[1]), tensors=False)
decided = read()
newest_valid(Path(sys.argv[1]))
print(steps, headers - start, decided - headers, read() - decided)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts bytes as Linux does")
def test_a_resume_reads_the_tensors_of_one_checkpoint_once(tokenizer: SentencePieceTokenizer, tmp_path: Path) -> None:
    checkpoint = small_checkpoint(tokenizer, d_ff=4096)
    for step, name in {2: BEST, 3: "checkpoint_step_3.pt", 4: LAST}.items():
        checkpoint.header["step"] = step
        size = save(tmp_path / name, checkpoint)
    done = subprocess.run(
        [sys.executable, "-c", BYTES_READ, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    steps, headers, decided, resumed = done.stdout.rsplit(maxsplit=3)
    assert steps == "[2, 4, 3]"
    assert int(headers) < size / 10
    assert int(decided) < size / 10
    assert size <= int(resumed) < size * 1.1


def test_the_header_is_read_without_torch(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(tmp_path / "a.pt", checkpoint)
    script = (
        "import sys; from pathlib import Path; from nima_cli.engine.checkpoint.header import step_of;"
        "print(step_of(Path(sys.argv[1])), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.pt")], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "7 False\n"
